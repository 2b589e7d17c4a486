"""The book of leases: what it counts is what it has."""

import random
from collections import Counter
from ipaddress import IPv4Address

from provisioner.dhcp.leases import SECOND, Lease, LeaseBook, LeaseState
from provisioner.domain.mac import Mac

from .rack import NOW

HOUR = 3600 * SECOND


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
