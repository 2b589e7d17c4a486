"""Addresses of a pool: who gets which, how long it is kept, and that nobody gets somebody else's."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from provisioner.dhcp.decision import Cause
from provisioner.dhcp.leases import (
    OFFERED_FOR,
    QUARANTINED_FOR,
    SECOND,
    HoldBack,
    Lease,
    LeaseState,
    Put,
    Sight,
)
from provisioner.dhcp.packet import NOWHERE
from provisioner.domain.events import Kind
from provisioner.domain.mac import Mac
from provisioner.domain.subnet import UnknownPolicy

from .pool import FIRST, LAST, LEASED_FOR, POOLED, Server, stranger
from .rack import (
    ACK,
    DECLINE,
    DISCOVER,
    INFORM,
    IP,
    MAC,
    NAK,
    NOW,
    OFFER,
    RELEASE,
    REQUEST,
    SERVER,
    STRANGER,
    Asker,
    pxe,
    rack,
)

ELSEWHERE = IPv4Address("192.0.2.9")


def test_a_stranger_gets_an_address_of_the_pool_once_it_is_on_disk() -> None:
    server = Server()
    decision, offer = server(stranger(1))
    assert offer is not None
    assert (offer.options[53], offer.yiaddr) == (OFFER, FIRST)
    put, sight = decision.effects
    assert put == Put(Lease(FIRST, stranger(1).mac, LeaseState.OFFERED, NOW + OFFERED_FOR), durable=False)
    assert isinstance(sight, Sight)
    decision, ack = server(stranger(1), REQUEST, {50: FIRST.packed, 54: SERVER.packed})
    assert ack is not None
    assert (ack.options[53], ack.options[51]) == (ACK, (600).to_bytes(4, "big"))
    assert decision.effects == (
        Put(Lease(FIRST, stranger(1).mac, LeaseState.BOUND, NOW + LEASED_FOR), durable=True),
    )
    assert decision.reason == "took 10.98.0.200; leased for 600 s"
    assert 12 not in ack.options


def test_what_a_stranger_boots_is_the_subnets_policy() -> None:
    for policy, booted in ((UnknownPolicy.ADDRESS, b""), (UnknownPolicy.ENROL, b"snponly.efi")):
        server = Server(rack(subnets=(replace(POOLED, unknown=policy),)))
        _, offer = server(replace(pxe(7), mac=STRANGER))
        assert offer is not None
        assert (offer.yiaddr, offer.file) == (FIRST, booted)


@pytest.mark.rule("dhcp-11")
def test_offered_addresses_are_reserved() -> None:
    server = Server()
    offered = set()
    for number in range(4):
        _, offer = server(stranger(number))
        assert offer is not None
        offered.add(offer.yiaddr)
    assert len(offered) == 4
    decision, offer = server(stranger(4))
    assert offer is None
    assert decision.cause is Cause.POOL_EMPTY
    assert "the pool of 10.98.0.0/24 is used up; `provisioner subnet set 10.98.0.0/24 --pool" in decision.reason
    # Offers are short: what nobody took is free again.
    _, offer = server(stranger(4), now=NOW + OFFERED_FOR)
    assert offer is not None


@pytest.mark.rule("dhcp-37")
def test_an_offer_outlasts_what_a_rom_takes_to_ask_for_it() -> None:
    """EDK2 asks again after 4, 8, 16 and 32 s and collects offers for its first window; iPXE asks within 10 s."""
    server = Server()
    asked = [server(stranger(1), now=NOW + at * SECOND)[1] for at in (0, 4, 12, 28, 60)]
    assert {offer.yiaddr for offer in asked if offer} == {FIRST}
    assert None not in asked
    # Meanwhile nobody else is offered it.
    other = server(stranger(2), now=NOW + 79 * SECOND)[1]
    assert other is not None
    assert other.yiaddr != FIRST
    taken = {50: FIRST.packed, 54: SERVER.packed}
    _, ack = server(stranger(1), REQUEST, taken, now=NOW + 70 * SECOND)
    assert ack is not None
    assert ack.options[53] == ACK


@pytest.mark.rule("dhcp-11")
def test_the_order_is_current_then_previous_then_requested_then_pool() -> None:
    server = Server()
    wanted = {50: IPv4Address("10.98.0.202").packed}
    _, offer = server(stranger(1), DISCOVER, wanted)
    assert offer is not None
    assert offer.yiaddr == IPv4Address("10.98.0.202")
    server(stranger(1), REQUEST, {**wanted, 54: SERVER.packed})
    # Current, whatever it would like now; and a bound client keeps its lease through a new DISCOVER.
    decision, offer = server(stranger(1), DISCOVER, {50: LAST.packed})
    assert offer is not None
    assert offer.yiaddr == IPv4Address("10.98.0.202")
    assert not any(isinstance(effect, Put) for effect in decision.effects)
    # Previous, after its end.
    later = NOW + LEASED_FOR + 1
    _, offer = server(stranger(1), DISCOVER, {50: LAST.packed}, now=later)
    assert offer is not None
    assert offer.yiaddr == IPv4Address("10.98.0.202")
    # What is not in the pool, reserved or held, is not given for the asking.
    for not_free in ("10.98.0.50", str(IP), str(SERVER), "10.98.0.202", "10.98.0.255", "192.0.2.1"):
        server_, asker = Server(), stranger(9)
        server_.book.put(Lease(IPv4Address("10.98.0.202"), MAC, LeaseState.BOUND, NOW + 1))
        _, offer = server_(asker, DISCOVER, {50: IPv4Address(not_free).packed})
        assert offer is not None
        assert offer.yiaddr == FIRST


def test_the_address_that_was_free_for_longest_is_given_out_again() -> None:
    server = Server()
    for number, at in ((1, 0), (2, 10), (3, 20), (4, 30)):
        server.lease(stranger(number), now=NOW + at)
    server(stranger(1), REQUEST, ciaddr=FIRST, now=NOW + LEASED_FOR // 2)
    assert server(stranger(5), now=NOW + LEASED_FOR)[1] is None
    assert server.lease(stranger(5), now=NOW + LEASED_FOR + 20) == IPv4Address("10.98.0.201")
    assert server.lease(stranger(6), now=NOW + LEASED_FOR + 20) == IPv4Address("10.98.0.202")


@pytest.mark.rule("dhcp-04")
def test_the_offer_to_a_client_that_took_another_server_is_free_at_once() -> None:
    server = Server()
    _, offer = server(stranger(1))
    assert offer is not None
    decision, reply = server(stranger(1), REQUEST, {50: ELSEWHERE.packed, 54: ELSEWHERE.packed})
    assert reply is None
    assert (decision.kind, decision.cause) == (Kind.DHCP_IGNORED, Cause.OTHER_SERVER)
    assert server.book.free(offer.yiaddr, NOW)


@pytest.mark.rule("dhcp-05")
def test_init_reboot_without_reservation() -> None:
    server = Server()
    mine = server.lease(stranger(1))
    _, ack = server(stranger(1), REQUEST, {50: mine.packed})
    assert ack is not None
    assert ack.options[53] == ACK
    for wrong in (LAST, ELSEWHERE):
        _, reply = server(stranger(1), REQUEST, {50: wrong.packed})
        assert reply is not None
        assert reply.options[53] == NAK
    # No record of the client: silent, another server may know it. On the wrong network it is told.
    decision, reply = server(stranger(2), REQUEST, {50: LAST.packed})
    assert reply is None
    assert decision.cause is Cause.NO_LEASE
    _, reply = server(stranger(2), REQUEST, {50: ELSEWHERE.packed})
    assert reply is not None
    assert reply.options[53] == NAK


@pytest.mark.rule("dhcp-06")
@pytest.mark.parametrize("unicast", [True, False])
def test_only_ones_own_lease_is_extended(unicast: bool) -> None:
    server = Server()
    mine = server.lease(stranger(1))
    decision, ack = server(stranger(1), REQUEST, ciaddr=mine, now=NOW + SECOND, unicast=unicast)
    assert ack is not None
    assert (ack.options[53], ack.ciaddr) == (ACK, mine)
    (put,) = decision.effects
    assert isinstance(put, Put)
    assert (put.durable, put.lease.until) == (True, NOW + SECOND + LEASED_FOR)
    _, reply = server(stranger(2), REQUEST, ciaddr=mine, unicast=unicast)
    assert reply is not None
    assert reply.options[53] == NAK


@pytest.mark.rule("dhcp-06")
@pytest.mark.rule("fault-14")
def test_another_servers_client_that_rebinds_is_not_refused() -> None:
    server, theirs = Server(), IPv4Address("10.98.0.99")
    decision, reply = server(stranger(1), REQUEST, ciaddr=theirs)
    assert reply is None
    assert "which is in no pool here; another server may know it" in decision.reason
    _, reply = server(stranger(1), REQUEST, ciaddr=theirs, giaddr=IPv4Address("10.98.0.250"), unicast=True)
    assert reply is None
    # To us alone it turns only if it takes us for the giver; and an address that is kept here is ours to refuse.
    for mistaken in (
        server(stranger(1), REQUEST, ciaddr=theirs, unicast=True),
        server(stranger(1), REQUEST, ciaddr=SERVER),
        server(stranger(1), REQUEST, {50: theirs.packed, 54: SERVER.packed}),
    ):
        assert mistaken[1] is not None
        assert mistaken[1].options[53] == NAK


@pytest.mark.rule("dhcp-07")
def test_a_lost_lease_is_made_anew_when_its_client_renews() -> None:
    server = Server()
    decision, ack = server(stranger(1), REQUEST, ciaddr=LAST)
    assert ack is not None
    assert (ack.options[53], ack.yiaddr) == (ACK, LAST)
    assert "unknown here but free" in decision.reason
    # But not what has become somebody's meanwhile.
    _, reply = server(stranger(2), REQUEST, ciaddr=LAST)
    assert reply is not None
    assert reply.options[53] == NAK


@pytest.mark.rule("dhcp-08")
def test_a_declined_address_of_the_pool_is_quarantined_on_disk() -> None:
    server = Server()
    mine = server.lease(stranger(1))
    decision, reply = server(stranger(1), DECLINE, {50: mine.packed, 54: SERVER.packed})
    assert reply is None
    assert decision.kind is Kind.DHCP_DECLINE
    assert decision.effects == (
        Put(Lease(mine, stranger(1).mac, LeaseState.QUARANTINED, NOW + QUARANTINED_FOR), durable=True),
    )
    # The same client is offered another one, and nobody gets this one until its time is over.
    assert server.lease(stranger(1)) != mine
    for number in (2, 3):
        assert server.lease(stranger(number)) != mine
    assert server(stranger(4))[1] is None
    _, refusal = server(stranger(4), REQUEST, ciaddr=mine)
    assert refusal is not None
    assert refusal.options[53] == NAK
    assert server.lease(stranger(4), now=NOW + QUARANTINED_FOR) is not None


@pytest.mark.rule("dhcp-08")
def test_nobody_declines_or_releases_somebody_elses_lease() -> None:
    server = Server()
    mine = server.lease(stranger(1))
    for kind, options, fields in (
        (DECLINE, {50: mine.packed, 54: SERVER.packed}, {}),
        (RELEASE, {54: SERVER.packed}, {"ciaddr": mine}),
    ):
        decision, _ = server(stranger(2), kind, options, **fields)
        assert not decision.effects
    assert not server.book.free(mine, NOW)


@pytest.mark.rule("dhcp-09")
def test_a_released_address_is_free_and_still_remembered() -> None:
    server = Server()
    mine = server.lease(stranger(1))
    decision, _ = server(stranger(1), RELEASE, {54: SERVER.packed}, ciaddr=mine)
    assert decision.kind is Kind.DHCP_RELEASE
    assert decision.effects == (Put(Lease(mine, stranger(1).mac, LeaseState.RELEASED, NOW), durable=True),)
    assert server.lease(stranger(1), now=NOW + SECOND) == mine
    server(stranger(1), RELEASE, {54: SERVER.packed}, ciaddr=mine, now=NOW + SECOND)
    for number in range(2, 6):
        server.lease(stranger(number), now=NOW + 2 * SECOND)
    assert server(stranger(1), now=NOW + 2 * SECOND)[1] is None


@pytest.mark.rule("dhcp-10")
def test_inform_without_reservation_allocates_nothing() -> None:
    server = Server()
    decision, ack = server(stranger(1), INFORM, ciaddr=IPv4Address("10.98.0.77"))
    assert ack is not None
    assert (ack.yiaddr, 51 in ack.options, decision.effects) == (NOWHERE, False, ())
    assert len(server.book) == 0


def test_a_storm_of_new_clients_is_slowed_and_the_listed_are_not() -> None:
    server = Server(newcomers=(1, 2))
    causes = [server(stranger(number))[0].cause for number in range(4)]
    assert causes == [Cause.ANSWERED, Cause.ANSWERED, Cause.TOO_MANY_NEW, Cause.TOO_MANY_NEW]
    assert server(Asker())[1] is not None
    # Who has a lease is no newcomer, and time makes room for more.
    assert server(stranger(0))[1] is not None
    assert server(stranger(2), now=NOW + SECOND)[1] is not None


def test_a_lease_that_could_not_be_written_is_undone() -> None:
    server = Server()
    before = server.book.put(Lease(FIRST, STRANGER, LeaseState.BOUND, NOW + LEASED_FOR))
    server.book.take_back(FIRST, before)
    assert len(server.book) == 0
    assert server.lease(stranger(7)) == FIRST


def test_two_clients_never_hold_one_address() -> None:
    """Random clients that ask, take, renew, release, decline, disappear and come back, over days."""
    import random

    chance = random.Random(11)
    server = Server()
    now = NOW
    holders: dict[IPv4Address, tuple[Mac, int]] = {}
    for _ in range(4000):
        now += chance.choice((0, SECOND, 30 * SECOND, 300 * SECOND))
        asker = stranger(chance.randrange(10))
        lease = server.book.of(asker.mac, POOLED)
        step = chance.random()
        if lease is None or step < 0.5:
            decision, offer = server(asker, now=now)
            if offer is None:
                continue
            decision, ack = server(asker, REQUEST, {50: offer.yiaddr.packed, 54: SERVER.packed}, now=now)
        elif step < 0.8:
            decision, ack = server(asker, REQUEST, ciaddr=lease.address, now=now)
        elif step < 0.9:
            decision, ack = server(asker, RELEASE, {54: SERVER.packed}, ciaddr=lease.address, now=now)
            if decision.kind is Kind.DHCP_RELEASE:
                del holders[lease.address]
        else:
            decision, ack = server(asker, DECLINE, {50: lease.address.packed, 54: SERVER.packed}, now=now)
            if decision.kind is Kind.DHCP_DECLINE:
                holders.pop(lease.address, None)
        if ack is not None and ack.options[53] == ACK:
            holder, until = holders.get(ack.yiaddr, (asker.mac, 0))
            assert holder == asker.mac or until <= now, decision.reason
            holders[ack.yiaddr] = (asker.mac, now + LEASED_FOR)
        assert not any(isinstance(effect, HoldBack) for effect in decision.effects)
    assert len(holders) >= 2
