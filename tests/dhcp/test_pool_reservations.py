"""Reservations within a pool: what is kept for a machine, a slot or ourselves is leased to nobody."""

from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

from provisioner.dhcp.decision import Cause
from provisioner.dhcp.leases import (
    Lease,
    LeaseState,
    Sight,
)
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Address, Interface, Slot
from provisioner.domain.place import Place
from provisioner.domain.subnet import AddressRange

from .pool import FIRST, LEASED_FOR, POOLED, Server, stranger
from .rack import (
    DISCOVER,
    IP,
    MAC,
    NAK,
    NODE,
    NOW,
    REQUEST,
    SECOND_MAC,
    SERVER,
    SPACE,
    STRANGER,
    Asker,
    rack,
)


def test_reserved_and_served_addresses_within_a_pool_are_not_given_out() -> None:
    everything = replace(
        POOLED, pools=(AddressRange(IPv4Address("10.98.0.0"), IPv4Address("10.98.0.5")),), gateway=None
    )
    node = replace(NODE, addresses=(Address(SPACE, IPv4Address("10.98.0.5"), MAC),))
    server = Server(rack(node, subnets=(everything,)))
    # .0 is the network, .1 ours, .2 and .3 its DNS servers, .5 reserved.
    assert server.lease(stranger(1)) == IPv4Address("10.98.0.4")
    assert server(stranger(2))[1] is None


def test_an_empty_slots_address_within_a_pool_is_nobodys() -> None:
    """It waits for its board: neither chosen, nor given for the asking, nor left to who had it before."""
    slot = Slot(UUID(int=1), "node-99", role="worker")
    empty = Inventory.build(
        [NODE], [POOLED], places=[Place(slot, tuple(Address(UUID(int=n), FIRST + n) for n in (0, 2)))]
    )
    server = Server(empty)
    held = FIRST + 2
    decision, offer = server(stranger(1), DISCOVER, {50: held.packed})
    assert offer is not None, decision.reason
    assert offer.yiaddr == FIRST + 1
    for number, (kind, options, fields) in enumerate(
        (
            (REQUEST, {50: held.packed, 54: SERVER.packed}, {}),
            (REQUEST, {}, {"ciaddr": held}),
        )
    ):
        _, reply = server(stranger(10 + number), kind, options, **fields)
        assert reply is not None
        assert reply.options[53] == NAK
    assert [server.lease(stranger(number)) for number in (1, 2)] == [FIRST + 1, FIRST + 3]
    decision, offer = server(stranger(3))
    assert offer is None
    assert decision.cause is Cause.POOL_EMPTY
    # A lease from before the slot got its address ends when its client renews.
    server.book.put(Lease(FIRST, stranger(4).mac, LeaseState.BOUND, NOW + LEASED_FOR))
    decision, reply = server(stranger(4), REQUEST, ciaddr=FIRST)
    assert reply is not None
    assert reply.options[53] == NAK
    assert "not given out any more" in decision.reason


def test_a_second_nic_gets_an_address_of_the_pool_but_no_install() -> None:
    node = replace(NODE, interfaces=(*NODE.interfaces, Interface(SPACE, SECOND_MAC)))
    server = Server(rack(node, subnets=(POOLED,)))
    decision, offer = server(Asker(mac=SECOND_MAC))
    assert offer is not None
    assert (offer.yiaddr, decision.machine_id) == (FIRST, NODE.id)
    assert not any(isinstance(effect, Sight) for effect in decision.effects)


def test_a_reservation_made_over_a_lease_waits_for_its_end() -> None:
    server = Server()
    server.book.put(Lease(IP, STRANGER, LeaseState.BOUND, NOW + LEASED_FOR))
    decision, offer = server(Asker())
    assert offer is None
    assert decision.cause is Cause.HELD_BACK
    assert f"10.98.0.17 is leased to {STRANGER} until it renews" in decision.reason
    _, reply = server(Asker(mac=STRANGER), REQUEST, ciaddr=IP)
    assert reply is not None
    assert reply.options[53] == NAK
    assert server(Asker(), now=NOW + LEASED_FOR)[1] is not None


def test_a_listed_machine_with_a_lease_is_told_its_reservation() -> None:
    server = Server()
    server.book.put(Lease(FIRST, MAC, LeaseState.BOUND, NOW + LEASED_FOR))
    _, reply = server(Asker(), REQUEST, ciaddr=FIRST)
    assert reply is not None
    assert reply.options[53] == NAK
    assert server.lease(Asker()) == IP
