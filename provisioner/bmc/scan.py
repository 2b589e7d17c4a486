"""Who answers in a range of addresses: RMCP over UDP 623, and over HTTPS whom a recogniser knows; no login.

The rate is bounded for our own sake: each silent address on our wire stands in the kernel's neighbour table for
about three seconds, and the table holds 1,024 by default; a faster scan would push machines out of it.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from provisioner.bmc import rmcp
from provisioner.bmc.recognisers import RECOGNISERS
from provisioner.bmc.session import Target
from provisioner.domain.bmc import Presence

BETWEEN = 0.005
"""Seconds between two addresses."""
_IPMI_PORT, _HTTPS_PORT = 623, 443
_ANSWER_WAIT = 1.5
"""Seconds for the last answers after each round; the second round is for BMCs that missed the first."""
_CONNECT_WAIT = 3.0
"""Seconds: time for one repeated SYN."""
_ASKED_AT_ONCE = 16


def sweep(addresses: Sequence[str]) -> list[Presence]:
    """Those who answer, in the order of ``addresses``, which are IP literals and checked. Blocks."""
    vendors, known = asyncio.run(_both(addresses))
    found = []
    for address in addresses:
        web = known.get(address)
        if address in vendors:
            heard = Presence(address, ("ipmi",), vendors[address])
            web = (
                replace(web, protocols=("ipmi", *web.protocols), vendor=web.vendor or heard.vendor)
                if web
                else heard
            )
        if web:
            found.append(web)
    return found


async def _both(addresses: Sequence[str]) -> tuple[dict[str, str], dict[str, Presence]]:
    listening: list[str] = []
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads, _Ears(addresses) as ears:
        connecting = []
        for address in addresses:
            ears.ask(address)
            connecting.append(asyncio.create_task(_connects(address, listening)))
            await asyncio.sleep(BETWEEN)
        await asyncio.sleep(_ANSWER_WAIT)
        for address in addresses:
            if address not in ears.vendors:
                ears.ask(address)
                await asyncio.sleep(BETWEEN)
        await asyncio.sleep(_ANSWER_WAIT)
        await asyncio.gather(*connecting)
        loop = asyncio.get_running_loop()
        asked = [loop.run_in_executor(threads, _recognised, address) for address in listening]
        return ears.vendors, {found.address: found for found in await asyncio.gather(*asked) if found}


class _Ears:
    """The UDP sockets, one a family. ``vendors``: who answered, and what it said its maker is."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._wanted = frozenset(addresses)
        self._sockets: dict[int, socket.socket] = {}
        self.vendors: dict[str, str] = {}

    def __enter__(self) -> "_Ears":
        for family in {_family(address) for address in self._wanted}:
            made = self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
            made.setblocking(False)
            asyncio.get_running_loop().add_reader(made, self._hear, made)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets.values():
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    def ask(self, address: str) -> None:
        door = self._sockets[_family(address)]
        for question in (rmcp.ASF_PING, rmcp.CAPABILITIES):
            # No route, or a full queue: nobody is heard there, which is what the result says.
            with suppress(OSError):
                door.sendto(question, (address, _IPMI_PORT))

    def _hear(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                answer, peer = door.recvfrom(512)
                vendor = rmcp.heard(answer)
                if vendor is not None and peer[1] == _IPMI_PORT and peer[0] in self._wanted:
                    self.vendors[peer[0]] = self.vendors.get(peer[0]) or vendor


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _connects(address: str, listening: list[str]) -> None:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_CONNECT_WAIT):
            _, writer = await asyncio.open_connection(address, _HTTPS_PORT)
            listening.append(address)
            writer.close()
            await writer.wait_closed()


def _recognised(address: str) -> Presence | None:
    """What listens at the HTTPS port, by the first that knows it."""
    target = Target(address, _HTTPS_PORT, "", "")
    return next((found for recognised in RECOGNISERS if (found := recognised(target))), None)
