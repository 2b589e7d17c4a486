"""Options that many replies have in common, written once.

The machines of a room ask alike and are answered alike: mask, routers, name servers and times of a reply are those
of thousands of others, in the same order. Only what is the client's own is filled in, in its place.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from provisioner.dhcp.packet import write_option
from provisioner.domain.subnet import Subnet

_KEPT = 1000
"""Clients choose what they ask for; this bounds what they can make us remember."""


class Written(NamedTuple):
    """A reply's options as bytes, with places for the client's own."""

    places: tuple[tuple[bytes, int], ...]
    """What comes before a place, and the code of the option in it."""
    end: bytes

    def filled(self, own: Mapping[int, bytes]) -> bytes:
        """As they go over the wire, without the END."""
        if not self.places:
            return self.end
        parts = [before + write_option(code, own[code]) for before, code in self.places]
        parts.append(self.end)
        return b"".join(parts)


def written(options: Mapping[int, bytes], own: Mapping[int, bytes]) -> Written:
    """``options`` in their order, with places for those that are in ``own``."""
    places: list[tuple[bytes, int]] = []
    before = b""
    for code, value in options.items():
        if code in own:
            places.append((before, int(code)))
            before = b""
        else:
            before += write_option(code, value)
    return Written(tuple(places), before)


class Shelf:
    """What was written before, by what it follows from: the same question gets the same bytes."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Subnet, Written]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def options(
        self, subnet: Subnet, rest: Hashable, own: Mapping[int, bytes], make: Callable[[], Mapping[int, bytes]]
    ) -> bytes:
        """``make()``'s options with the values of ``own``, written. What ``make`` returns beside those values must
        follow from the subnet, ``rest`` and the codes in ``own``."""
        key = (id(subnet), rest, tuple(own))
        known = self._known.get(key)
        # An id may become another object's when its owner is gone; what is kept here is not gone.
        if known is None or known[0] is not subnet:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = (subnet, written(make(), own))
        return known[1].filled(own)
