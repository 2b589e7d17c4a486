"""Reading a request's body within bounds of size and time."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from provisioner.domain.errors import Refused

SECONDS = 20.0
"""A body on a rack's wire takes milliseconds; whoever trickles holds no more than a socket for so long."""


class TooLarge(Refused):
    """The body exceeds what this door takes."""


class TooSlow(Refused):
    """The body did not arrive in time, or the sender went away."""


async def whole(request: Request, limit: int, seconds: float = SECONDS) -> bytes:
    """The body, at most ``limit`` bytes. Raises TooLarge and TooSlow."""
    body = bytearray()
    async for chunk in _chunks(request, seconds):
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body is longer than {limit} bytes", "send less at once")
    return bytes(body)


async def tail(request: Request, limit: int, ceiling: int, seconds: float = SECONDS) -> bytes:
    """The last ``limit`` bytes of a body of at most ``ceiling``. Raises TooLarge and TooSlow."""
    kept = bytearray()
    seen = 0
    async for chunk in _chunks(request, seconds):
        seen += len(chunk)
        if seen > ceiling:
            raise TooLarge(f"the body is longer than {ceiling} bytes", "send its last part only")
        kept += chunk
        if len(kept) > 2 * limit:
            del kept[:-limit]
    return bytes(kept[-limit:])


async def _chunks(request: Request, seconds: float) -> AsyncIterator[bytes]:
    stream = request.stream()
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(stream, None)
        except (TimeoutError, ClientDisconnect) as error:
            raise TooSlow(f"the body did not arrive within {seconds:g} s", "send it again") from error
        if chunk is None:
            return
        yield chunk
