"""What a decision leaves behind, and the addresses that are held back because somebody else answers on them.

Reserved addresses have no lease to store: the reservation is the binding. What remains is DECLINE.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from provisioner.domain.events import Sighting

HELD_FOR = 600 * 1_000_000
"""Microseconds for which a declined reservation is not offered: long enough for the alert to be read, short
enough that a machine whose conflict is gone boots again by itself."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Somebody unknown was seen."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class HoldBack:
    """The address answered for somebody else (DECLINE): do not offer it before ``until`` (UTC microseconds)."""

    address: IPv4Address
    until: int


Effect = Sight | HoldBack
"""What the server commits before it sends the reply."""


class HeldBack:
    """Declined addresses of this process. Only reserved addresses get in, so the inventory bounds it."""

    def __init__(self) -> None:
        self._until: dict[IPv4Address, int] = {}

    def add(self, hold: HoldBack) -> None:
        self._until[hold.address] = hold.until

    def current(self, now: int) -> frozenset[IPv4Address]:
        """The addresses still held. A clock that was set back far releases them rather than keeping them for
        longer than they could ever have been meant to be held."""
        if not self._until:
            return _NONE
        for address in [a for a, until in self._until.items() if not until - HELD_FOR <= now < until]:
            del self._until[address]
        return frozenset(self._until)


_NONE: frozenset[IPv4Address] = frozenset()
