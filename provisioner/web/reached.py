"""Which of our addresses a request came to. Port 80 may be opened for us, on all addresses at once."""

from collections.abc import Collection

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def reached_at(app: ASGIApp, addresses: Collection[str] | None) -> ASGIApp:
    """`app` for requests to `addresses` only; None: for all. What reached another address is told where to ask
    (421, RFC 9110 section 15.5.20): networks that no machine is on learn nothing."""
    if addresses is None:
        return app
    told = f"machines are served at {', '.join(sorted(addresses))}\n"

    async def only_there(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["server"][0].removeprefix("::ffff:") in addresses:
            await app(scope, receive, send)
        else:
            await PlainTextResponse(told, 421)(scope, receive, send)

    return only_there
