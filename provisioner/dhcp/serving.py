"""A wire that is served: how much of it, and whether its interface still is the one that was opened.

A socket that is bound to a device hears nothing once that device is gone, and nobody tells it: bridges, bonds and
VLANs are made anew, under their old names, whenever the network's configuration is applied again.
"""

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from provisioner.dhcp.decision import Mode
from provisioner.dhcp.leases import Bucket
from provisioner.dhcp.wire import Wire
from provisioner.domain.errors import Refused


@dataclass(frozen=True, slots=True)
class Served:
    """An interface to serve, and our address on it."""

    name: str
    address: IPv4Address
    mode: Mode = Mode.AUTHORITATIVE


@dataclass(frozen=True, slots=True)
class Pace:
    """How much unlisted clients may ask of us, so that a storm of them starves nobody who is listed."""

    newcomers: tuple[float, float] = (50, 500)
    """Clients without a lease that start on one interface: a second, and at once."""
    unlisted: tuple[float, float] = (1000, 5000)
    """Packets of unlisted clients that are looked at: a second, and at once. The others are counted only."""


@dataclass(slots=True)
class Serving:
    """A wire, and how many more unlisted packets on it are looked at."""

    wire: Wire
    unlisted: Bucket
    port: int
    trouble: str = ""
    """Why nobody is served here, as it was told; empty: they are."""

    def tend(self, leave: Callable[["Serving"], None], join: Callable[["Serving"], None]) -> str:
        """Look at the interface, and open it again if it was made anew. Returns what is to be told, if anything is.

        ``leave`` and ``join`` are called around a change of sockets. Call it once a second or so.
        """
        wire, before = self.wire, self.trouble
        self.trouble = self._trouble(leave, join)
        if self.trouble == before and self.wire is wire:
            return ""
        return self.trouble or f"DHCP is served on {self.wire.context.interface} again"

    def _trouble(self, leave: Callable[["Serving"], None], join: Callable[["Serving"], None]) -> str:
        context = self.wire.context
        name, address = context.interface, context.address
        index = _index(name)
        if not index:
            return f"interface {name} is gone; DHCP is served on it again when it is back"
        if index != context.ifindex:
            try:
                fresh = Wire(context, self.port)
            except (Refused, OSError) as refusal:
                return f"interface {name} was made anew and cannot be served: {refusal}"
            leave(self)
            self.wire.close()
            self.wire = fresh
            join(self)
        if not _ours(address):
            return (
                f"{address}, by which {name} is served, is no address of this host any more; give it back: "
                f"`ip addr add {address}/PREFIXLEN dev {name}`, or restart Provisioner to serve by another one"
            )
        return ""


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _ours(address: IPv4Address) -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True
