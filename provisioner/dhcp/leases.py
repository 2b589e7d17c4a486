"""Addresses that are no reservations: who has which, for how long, and which is free.

A ``LeaseBook`` answers from memory and changes only by the effects of a decision, which the server applies; what
must outlive the process goes to ``lease_file`` first. Times are UTC microseconds and come in as arguments.
"""

import heapq
from collections.abc import Callable, Iterable
from enum import IntEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from provisioner.domain.events import Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.subnet import AddressRange, Subnet

SECOND = 1_000_000
_GRAIN = 10 * SECOND
HELD_FOR = 600 * SECOND
"""How long a declined reservation is not offered: long enough for the alert to be read, short enough that a machine
whose conflict is gone boots again by itself."""
OFFERED_FOR = 20 * SECOND
"""How long an offer keeps its address. EDK2 collects offers for 4 s and iPXE asks within 10 s; a longer time would
let clients that never take what they are offered empty the pool."""
QUARANTINED_FOR = 3600 * SECOND
"""How long an address of a pool that somebody else answers on is not given out."""


class LeaseState(IntEnum):
    """The numbers are stored; do not renumber."""

    OFFERED = 1
    BOUND = 2
    RELEASED = 3
    """Given back; its client gets it again while nobody else has it."""
    QUARANTINED = 4
    """Another device answers on it."""


class Lease(NamedTuple):
    """One address of a pool. Beyond ``until`` it is a memory of whose it was."""

    address: IPv4Address
    mac: Mac
    state: LeaseState
    until: int

    def holds(self, now: int) -> bool:
        """Nobody else may have the address."""
        return self.until > now and self.state is not LeaseState.RELEASED


class Sight(NamedTuple):
    """Somebody unknown was seen."""

    sighting: Sighting


class HoldBack(NamedTuple):
    """The address answered for somebody else (DECLINE): do not offer it before ``until`` (UTC microseconds)."""

    address: IPv4Address
    until: int


class Put(NamedTuple):
    """The lease as it is from now on."""

    lease: Lease
    durable: bool
    """On disk before the reply is sent; offers are not worth it."""


Effect = Sight | HoldBack | Put
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


class Bucket:
    """At most ``rate`` a second in the long run, ``burst`` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._level, self._at = rate, burst, float(burst), 0

    def take(self, now: int) -> bool:
        """Is there one left? Takes it. A clock that jumps refills at most what one burst is."""
        self._level = min(self._burst, self._level + max(0, now - self._at) * self._rate / SECOND)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class LeaseBook:
    """The pools' addresses and whose they are. Not thread-safe: it belongs to the packet loop.

    ``newcomers``: how many clients without a lease may start each second, and at once, on one interface.
    """

    def __init__(self, known: Iterable[Lease] = (), newcomers: tuple[float, float] = (50, 500)) -> None:
        self._leases: dict[IPv4Address, Lease] = {}
        self._of_mac: dict[Mac, tuple[IPv4Address, ...]] = {}
        self._pools: dict[tuple[AddressRange, ...], _Pool] = {}
        self._newcomers = newcomers
        self._buckets: dict[str, Bucket] = {}
        self._ends: dict[tuple[LeaseState, int], int] = {}
        """How many of a state end in which ten seconds. Counted as they come: to go through 60,000 would take
        Python's lock from the packet loop for longer than an answer may take."""
        for lease in known:
            self.put(lease)

    def __len__(self) -> int:
        return len(self._leases)

    def snapshot(self) -> list[Lease]:
        """All, copied in one step: the loop's thread may go on."""
        return list(self._leases.values())

    def counts(self, now: int) -> dict[str, int]:
        """How many by state, within ten seconds; ``ended`` are memories. Any thread may ask."""
        found: dict[str, int] = {}
        for (state, span), number in self._ends.copy().items():
            name = state.name.lower() if (span + 1) * _GRAIN > now else "ended"
            found[name] = found.get(name, 0) + number
        return found

    def knows(self, mac: bytes) -> bool:
        """Does it have, or had it last, an address of a pool?"""
        return mac in self._of_mac

    def get(self, address: IPv4Address) -> Lease | None:
        return self._leases.get(address)

    def of(self, mac: Mac, subnet: Subnet) -> Lease | None:
        """What the client has, or had last, in this subnet's pools: the live one, else the one that ended last."""
        mine = [
            self._leases[address]
            for address in self._of_mac.get(mac, ())
            if any(address in pool for pool in subnet.pools)
        ]
        usable = [lease for lease in mine if lease.state is not LeaseState.QUARANTINED]
        return max(usable, key=lambda lease: lease.until, default=None)

    def free(self, address: IPv4Address, now: int) -> bool:
        """Nobody holds it; somebody may have had it."""
        lease = self._leases.get(address)
        return lease is None or not lease.holds(now)

    def choose(self, subnet: Subnet, taken: Callable[[IPv4Address], bool], now: int) -> IPv4Address | None:
        """An address for somebody new: one that nobody ever had, else the one that has been free for longest.

        ``taken``: is it kept for something that the book does not know (a reservation, a router)?
        """
        pool = self._pools.get(subnet.pools)
        if pool is None:
            pool = self._pools[subnet.pools] = _Pool(subnet.pools)
            for lease in self._leases.values():
                pool.note(lease)
        while (fresh := pool.fresh) is not None:
            if fresh not in self._leases and not taken(fresh):
                return fresh
            pool.advance()
        return pool.ended(self._leases, taken, now)

    def may_start(self, interface: str, now: int) -> bool:
        """May one more client without a lease be served now?"""
        bucket = self._buckets.get(interface)
        if bucket is None:
            bucket = self._buckets[interface] = Bucket(*self._newcomers)
        return bucket.take(now)

    def put(self, lease: Lease) -> Lease | None:
        """Remember it; returns what it replaces."""
        before = self._leases.get(lease.address)
        if before is None or before.mac != lease.mac:
            if before is not None:
                self._unlink(before)
            self._of_mac[lease.mac] = (*self._of_mac.get(lease.mac, ()), lease.address)
        if before is not None:
            self._count(before, -1)
        self._count(lease, 1)
        self._leases[lease.address] = lease
        for pool in self._pools.values():
            pool.note(lease)
        return before

    def take_back(self, address: IPv4Address, before: Lease | None) -> None:
        """Undo a ``put`` that could not be made durable."""
        if before is not None:
            self.put(before)
        elif (lease := self._leases.pop(address, None)) is not None:
            self._unlink(lease)
            self._count(lease, -1)
            # The pools look for fresh addresses further on only.
            self._pools.clear()

    def shift(self, by: int) -> None:
        """The clock was stepped by so many microseconds: what was left of every lease is still left."""
        self._ends.clear()
        for lease in list(self._leases.values()):
            shifted = self._leases[lease.address] = lease._replace(until=lease.until + by)
            self._count(shifted, 1)
        self._pools.clear()

    def _count(self, lease: Lease, by: int) -> None:
        key = (lease.state, lease.until // _GRAIN)
        number = self._ends.get(key, 0) + by
        if number:
            self._ends[key] = number
        else:
            del self._ends[key]

    def _unlink(self, lease: Lease) -> None:
        rest = tuple(address for address in self._of_mac[lease.mac] if address != lease.address)
        if rest:
            self._of_mac[lease.mac] = rest
        else:
            del self._of_mac[lease.mac]


class _Pool:
    """Where in a pool the search goes on, so that a full pool costs no more than an empty one."""

    def __init__(self, ranges: tuple[AddressRange, ...]) -> None:
        self._bounds = [(int(r.first), int(r.last)) for r in ranges if isinstance(r.first, IPv4Address)]
        self._range = 0
        self._next = self._bounds[0][0] if self._bounds else 0
        self._ends: list[tuple[int, int]] = []
        self._due: dict[int, int] = {}
        """The entry of ``_ends`` that counts for an address."""

    @property
    def fresh(self) -> IPv4Address | None:
        """The next address that was not looked at yet."""
        return IPv4Address(self._next) if self._range < len(self._bounds) else None

    def advance(self) -> None:
        if self._next < self._bounds[self._range][1]:
            self._next += 1
        else:
            self._range += 1
            self._next = self._bounds[self._range][0] if self._range < len(self._bounds) else 0

    def note(self, lease: Lease) -> None:
        """The address may be free again at the lease's end. A prolonged lease is looked at when it comes up."""
        number = int(lease.address)
        due = self._due.get(number)
        if due is None:
            if not any(first <= number <= last for first, last in self._bounds):
                return
        elif lease.until >= due:
            return
        self._push(lease.until, number)
        if len(self._ends) > 2 * len(self._due) + 64:
            self._ends = [(due, number) for number, due in self._due.items()]
            heapq.heapify(self._ends)

    def ended(
        self, leases: dict[IPv4Address, Lease], taken: Callable[[IPv4Address], bool], now: int
    ) -> IPv4Address | None:
        """The address whose lease ended first, or None while all are held."""
        while self._ends and self._ends[0][0] <= now:
            due, number = heapq.heappop(self._ends)
            if self._due.get(number) != due:
                continue  # replaced by an earlier entry
            address = IPv4Address(number)
            lease = leases.get(address)
            if lease is not None and lease.holds(now):
                self._push(lease.until, number)
            elif taken(address):
                self._push(now + HELD_FOR, number)
            else:
                self._push(due, number)
                return address
        return None

    def _push(self, due: int, number: int) -> None:
        self._due[number] = due
        heapq.heappush(self._ends, (due, number))


_NONE: frozenset[IPv4Address] = frozenset()
