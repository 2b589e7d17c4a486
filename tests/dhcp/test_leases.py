"""The book of leases: what it counts is what it has, and it is quick however full it is."""

import random
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address

from provisioner.dhcp.leases import SECOND, Lease, LeaseBook, LeaseState
from provisioner.domain.mac import Mac
from provisioner.domain.subnet import AddressRange

from .rack import MAC, NEAR, NOW

HOUR = 3600 * SECOND
FIRST = IPv4Address("10.98.0.200")


def told(book: LeaseBook, now: int) -> Counter[str]:
    return Counter(lease.state.name.lower() if lease.until > now else "ended" for lease in book.snapshot())


def test_the_counts_follow_every_change() -> None:
    chance, book, now = random.Random(5), LeaseBook(), NOW - NOW % (10 * SECOND)
    for _ in range(2000):
        address = IPv4Address(0x0A620000 + chance.randrange(60))
        mac = Mac(bytes((2, 0, 0, 0, 0, chance.randrange(40))))
        # Ten seconds: that is how exactly it counts.
        lease = Lease(
            address, mac, chance.choice(list(LeaseState)), now + chance.randrange(-60, 61) * 10 * SECOND - 1
        )
        before = book.put(lease)
        if chance.random() < 0.2:
            book.take_back(address, before)
        if chance.random() < 0.01:
            book.shift(chance.choice((-HOUR, HOUR)))
        assert book.counts(now) == told(book, now)
    assert len(book) > 50


def test_a_clock_that_is_set_expires_nothing() -> None:
    book = LeaseBook([Lease(FIRST, MAC, LeaseState.BOUND, NOW + SECOND)])
    day = 86_400 * SECOND
    book.shift(day)
    assert not book.free(FIRST, NOW + day)
    assert book.free(FIRST, NOW + day + SECOND)


def test_a_pool_is_found_in_bounded_time_when_it_is_full() -> None:
    """60,000 addresses, all leased: the search must not walk through them for each client."""
    big = replace(
        NEAR,
        prefix=type(NEAR.prefix)("10.0.0.0/8"),
        pools=(AddressRange(IPv4Address("10.64.0.0"), IPv4Address("10.64.234.95")),),
    )
    looks = 0

    def taken(address: IPv4Address) -> bool:
        nonlocal looks
        looks += 1
        return False

    book = LeaseBook()
    for number in range(60_000):
        chosen = book.choose(big, taken, NOW)
        assert chosen is not None
        book.put(Lease(chosen, Mac(b"\2\0" + number.to_bytes(4, "big")), LeaseState.BOUND, NOW + HOUR))
    looks = 0
    for _ in range(1000):
        assert book.choose(big, taken, NOW + 1) is None
    assert looks == 0
    assert book.choose(big, taken, NOW + HOUR) == IPv4Address("10.64.0.0")
