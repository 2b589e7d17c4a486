"""Addresses: who gets one, and in which state."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from provisioner.dhcp.leases import HELD_FOR, HeldBack, HoldBack, Sight
from provisioner.dhcp.packet import NOWHERE
from provisioner.dhcp.reply import Via
from provisioner.dhcp.respond import Mode, handle
from provisioner.domain.events import Kind
from provisioner.domain.machine import Address, Interface, State
from provisioner.domain.subnet import UnknownPolicy

from .rack import (
    ACK,
    CONTEXT,
    DECLINE,
    DISCOVER,
    FAR_IP,
    FAR_MAC,
    INFORM,
    IP,
    MAC,
    NAK,
    NEAR,
    NODE,
    NOW,
    OFFER,
    RACK,
    RELAY,
    RELEASE,
    REQUEST,
    SECOND_MAC,
    SERVER,
    SPACE,
    STRANGER,
    SYSTEM,
    UUID97,
    Asker,
    ask,
    granted,
    machine,
    pxe,
    rack,
)

ELSEWHERE = IPv4Address("192.0.2.9")
BROADCAST = 0x8000


def test_a_system_gets_its_reserved_address_and_its_network() -> None:
    decision, offer = ask(SYSTEM)
    assert offer is not None
    assert (offer.op, offer.yiaddr, offer.options[53]) == (2, IP, OFFER)
    assert {code: value for code, value in offer.options.items() if code != 53} == {
        1: bytes((255, 255, 255, 0)),
        3: bytes((10, 98, 0, 254)),
        6: bytes((10, 98, 0, 2, 10, 98, 0, 3)),
        12: b"node17",
        15: b"rack.example",
        28: bytes((10, 98, 0, 255)),
        42: bytes((10, 98, 0, 4)),
        51: (7200).to_bytes(4, "big"),
        54: SERVER.packed,
        58: (3600).to_bytes(4, "big"),
        59: (6300).to_bytes(4, "big"),
    }
    assert decision.reason == "asked for an address; offered 10.98.0.17"
    assert (decision.kind, decision.machine_id, decision.mac) == (Kind.DHCP_OFFER, NODE.id, MAC)
    assert (decision.phase, decision.effects) == (None, ())


TAKEN = {50: IP.packed, 54: SERVER.packed}


@pytest.mark.rule("dhcp-04")
def test_the_client_of_another_server_is_never_refused() -> None:
    for wanted in (IP, IPv4Address("10.98.0.99"), ELSEWHERE):
        decision, reply = ask(SYSTEM, REQUEST, {50: wanted.packed, 54: ELSEWHERE.packed})
        assert reply is None
        assert decision.kind is Kind.DHCP_IGNORED
        assert decision.reason == "REQUEST is for another DHCP server, 192.0.2.9"


@pytest.mark.rule("dhcp-12")
@pytest.mark.parametrize("named", [SERVER, ELSEWHERE])
def test_any_of_our_addresses_means_us_and_the_wires_own_is_told(named: IPv4Address) -> None:
    context = replace(CONTEXT, others=frozenset({ELSEWHERE}))
    ack = granted(SYSTEM, REQUEST, {50: IP.packed, 54: named.packed}, context=context)
    assert ack.options[53] == ACK
    assert ack.options[54] == SERVER.packed


@pytest.mark.rule("dhcp-05")
@pytest.mark.parametrize(
    ("asker", "wanted", "answer"),
    [
        pytest.param(SYSTEM, IP, ACK, id="its own"),
        pytest.param(SYSTEM, IPv4Address("10.98.0.18"), NAK, id="not its own"),
        pytest.param(SYSTEM, ELSEWHERE, NAK, id="of another network"),
        pytest.param(Asker(mac=FAR_MAC), FAR_IP, NAK, id="moved here from another network"),
        pytest.param(Asker(mac=STRANGER), IPv4Address("10.98.0.50"), None, id="unknown"),
        pytest.param(Asker(mac=STRANGER), ELSEWHERE, None, id="unknown, of another network"),
    ],
)
def test_init_reboot(asker: Asker, wanted: IPv4Address, answer: bytes | None) -> None:
    _, reply = ask(asker, REQUEST, {50: wanted.packed})
    assert (reply.options[53] if reply else None) == answer


@pytest.mark.rule("dhcp-06")
@pytest.mark.rule("dhcp-07")
@pytest.mark.parametrize(("unicast", "says"), [(True, "renewed 10.98.0.17;"), (False, "by broadcast (REBINDING)")])
def test_renewing_and_rebinding_extend_the_reserved_address(unicast: bool, says: str) -> None:
    decision, ack = ask(SYSTEM, REQUEST, ciaddr=IP, unicast=unicast)
    assert ack is not None
    assert (ack.options[53], ack.yiaddr, ack.ciaddr) == (ACK, IP, IP)
    assert ack.options[51] == (7200).to_bytes(4, "big")
    assert says in decision.reason
    assert decision.kind is Kind.DHCP_ACK


@pytest.mark.rule("dhcp-06")
@pytest.mark.rule("dhcp-41")
def test_a_client_behind_a_router_renews_without_its_relay() -> None:
    far = Asker(mac=FAR_MAC)
    decision, ack = ask(far, REQUEST, ciaddr=FAR_IP, unicast=True)
    assert ack is not None
    assert (ack.options[53], ack.yiaddr, ack.options[3]) == (ACK, FAR_IP, RELAY.packed), decision.reason
    assert decision.reply is not None
    assert (decision.reply.via, decision.reply.address) == (Via.ADDRESS, FAR_IP)
    assert decision.reason.startswith("renewed 10.99.0.5;")
    # By broadcast it is here, whatever its address says: moved, or plugged in wrong.
    _, reply = ask(far, REQUEST, ciaddr=FAR_IP)
    assert reply is not None
    assert reply.options[53] == NAK
    decision, ack = ask(far, REQUEST, ciaddr=FAR_IP, giaddr=RELAY, unicast=True)
    assert ack is not None
    assert ack.options[53] == ACK
    assert "renewed 10.99.0.5 by broadcast (REBINDING)" in decision.reason


@pytest.mark.rule("dhcp-10")
@pytest.mark.rule("dhcp-41")
def test_inform_from_behind_a_router_is_told_its_own_network() -> None:
    _, ack = ask(Asker(mac=FAR_MAC), INFORM, ciaddr=FAR_IP, unicast=True)
    assert ack is not None
    assert (ack.options[53], ack.options[3]) == (ACK, RELAY.packed)


@pytest.mark.rule("dhcp-06")
def test_an_address_that_is_somebody_elses_now_is_not_extended() -> None:
    _, reply = ask(SYSTEM, REQUEST, ciaddr=IPv4Address("10.98.0.18"))
    assert reply is not None
    assert reply.options[53] == NAK
    _, reply = ask(Asker(mac=STRANGER), REQUEST, ciaddr=IP)
    assert reply is None


@pytest.mark.rule("dhcp-08")
def test_a_declined_address_is_held_back_for_a_while_and_the_alert_says_why() -> None:
    decision, reply = ask(SYSTEM, DECLINE, {50: IP.packed, 54: SERVER.packed})
    assert reply is None
    assert decision.kind is Kind.DHCP_DECLINE
    assert "another device answers on it" in decision.reason
    assert decision.effects == (HoldBack(IP, NOW + HELD_FOR),)

    held = HeldBack()
    held.add(HoldBack(IP, NOW + HELD_FOR))
    later = NOW + HELD_FOR - 1
    silent, reply = ask(SYSTEM, context=replace(CONTEXT, held_back=held.current(later)), now=later)
    assert reply is None
    assert "10.98.0.17 was declined" in silent.reason
    assert granted(SYSTEM, context=replace(CONTEXT, held_back=held.current(later + 1))).yiaddr == IP


@pytest.mark.rule("dhcp-08")
def test_nobody_declines_what_is_not_theirs() -> None:
    for asker, address in ((SYSTEM, FAR_IP), (Asker(mac=STRANGER), IP), (Asker(mac=FAR_MAC), IP)):
        decision, _ = ask(asker, DECLINE, {50: address.packed, 54: SERVER.packed})
        assert not any(isinstance(effect, HoldBack) for effect in decision.effects)
        assert decision.kind is Kind.DHCP_IGNORED


def test_a_clock_set_back_does_not_hold_an_address_for_longer() -> None:
    held = HeldBack()
    held.add(HoldBack(IP, NOW + HELD_FOR))
    assert held.current(NOW) == {IP}
    assert held.current(NOW - 86_400_000_000) == frozenset()


@pytest.mark.rule("dhcp-09")
def test_a_released_reservation_stays() -> None:
    decision, reply = ask(SYSTEM, RELEASE, {54: SERVER.packed}, ciaddr=IP)
    assert reply is None
    assert (decision.kind, decision.machine_id, decision.effects) == (Kind.DHCP_RELEASE, NODE.id, ())
    assert granted(SYSTEM).yiaddr == IP


@pytest.mark.rule("dhcp-10")
def test_inform_gets_options_without_address_or_times() -> None:
    decision, ack = ask(SYSTEM, INFORM, ciaddr=IP)
    assert ack is not None
    assert decision.reply is not None
    assert (ack.options[53], ack.yiaddr, ack.ciaddr) == (ACK, NOWHERE, IP)
    assert not {51, 58, 59} & set(ack.options)
    assert ack.options[6] == bytes((10, 98, 0, 2, 10, 98, 0, 3))
    assert (decision.reply.via, decision.reply.address) == (Via.ADDRESS, IP)


@pytest.mark.rule("dhcp-11")
def test_the_reservation_wins_over_what_a_client_would_like() -> None:
    assert granted(SYSTEM, DISCOVER, {50: IPv4Address("10.98.0.200").packed}).yiaddr == IP


@pytest.mark.rule("dhcp-20")
def test_link_selection_names_the_clients_network() -> None:
    far = Asker(mac=FAR_MAC)
    selected = {82: b"\x05\x04" + RELAY.packed}
    decision, offer = ask(far, DISCOVER, selected, giaddr=IPv4Address("10.98.0.250"))
    assert offer is not None
    assert decision.reply is not None
    assert offer.yiaddr == FAR_IP
    assert decision.reply.address == IPv4Address("10.98.0.250")
    # Without a relay it is the client itself that speaks, and it does not choose its network.
    _, offer = ask(far, DISCOVER, selected)
    assert offer is None


@pytest.mark.rule("dhcp-20")
def test_server_id_override_sends_renewals_to_the_relay() -> None:
    agent = {82: b"\x0b\x04" + RELAY.packed}
    assert granted(Asker(mac=FAR_MAC), DISCOVER, agent, giaddr=RELAY).options[54] == RELAY.packed
    taken = {50: FAR_IP.packed, 54: RELAY.packed, **agent}
    assert granted(Asker(mac=FAR_MAC), REQUEST, taken, giaddr=RELAY).options[53] == ACK


@pytest.mark.rule("dhcp-21")
def test_a_relay_of_no_known_network_gets_no_answer() -> None:
    for asker in (SYSTEM, Asker(mac=STRANGER)):
        decision, reply = ask(asker, giaddr=ELSEWHERE)
        assert reply is None
        assert "no configured subnet holds relay address 192.0.2.9; `provisioner subnet add` one" in decision.reason


def test_a_relayed_machine_gets_the_address_of_its_own_network() -> None:
    offer = granted(Asker(mac=FAR_MAC), giaddr=RELAY)
    assert (offer.yiaddr, offer.options[3], offer.options[54]) == (FAR_IP, RELAY.packed, SERVER.packed)


@pytest.mark.rule("dhcp-40")
def test_the_receiving_interface_picks_the_subnet() -> None:
    two_nics = replace(
        NODE,
        interfaces=(*NODE.interfaces, Interface(SPACE, SECOND_MAC)),
        addresses=(*NODE.addresses, Address(SPACE, IPv4Address("10.99.0.17"), SECOND_MAC)),
    )
    far = replace(CONTEXT, interface="br1", address=RELAY)
    inventory = rack(two_nics)
    assert granted(Asker(mac=SECOND_MAC), inventory=inventory, context=far).yiaddr == IPv4Address("10.99.0.17")
    decision, reply = ask(Asker(mac=SECOND_MAC), inventory=inventory)
    assert reply is None
    assert decision.reason == "its address 10.99.0.17 is not in 10.98.0.0/24, where it asks"


def test_two_nics_that_boot_at_once_never_share_an_address() -> None:
    shared = replace(
        NODE,
        interfaces=(*NODE.interfaces, Interface(SPACE, SECOND_MAC)),
        addresses=(Address(SPACE, IP),),
    )
    assert granted(SYSTEM, inventory=rack(shared)).yiaddr == IP
    decision, reply = ask(Asker(mac=SECOND_MAC), inventory=rack(shared))
    assert reply is None
    assert decision.reason.startswith("no address is reserved for 52:54:00:98:01:17 in 10.98.0.0/24; `provisioner")


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (UnknownPolicy.IGNORE, "unknown MAC; subnet 10.98.0.0/24 ignores such machines; `provisioner machine add"),
        (
            UnknownPolicy.ADDRESS,
            "gives an address only, but the subnet has no pool; `provisioner subnet set 10.98.0.0/24 --pool",
        ),
        (UnknownPolicy.ENROL, "discovers hardware, but the subnet has no pool;"),
    ],
)
def test_a_stranger_is_sighted_and_the_silence_explained(policy: UnknownPolicy, says: str) -> None:
    inventory = rack(NODE, subnets=(replace(NEAR, unknown=policy),))
    decision, reply = ask(replace(pxe(7), mac=STRANGER), inventory=inventory)
    assert reply is None
    assert says in decision.reason
    (sight,) = decision.effects
    assert isinstance(sight, Sight)
    assert (sight.sighting.mac, sight.sighting.source, sight.sighting.at) == (STRANGER, "dhcp", NOW)
    assert sight.sighting.detail == "PXE uefi-x64 on br0"
    assert (decision.machine_id, decision.mac, decision.kind) == (None, STRANGER, Kind.DHCP_IGNORED)


@pytest.mark.parametrize("state", [s for s in State if s is not State.RETIRED])
def test_every_state_but_retired_keeps_its_address(state: State) -> None:
    assert granted(SYSTEM, inventory=rack(replace(NODE, state=state))).yiaddr == IP


def test_a_retired_machine_gets_nothing() -> None:
    for kind, options in ((DISCOVER, {}), (REQUEST, TAKEN)):
        decision, reply = ask(pxe(7), kind, options, inventory=rack(replace(NODE, state=State.RETIRED)))
        assert reply is None
        assert "retired; restore it to serve it again" in decision.reason
        assert decision.machine_id == NODE.id


def test_an_interface_that_is_off_gives_no_answer() -> None:
    decision, reply = ask(SYSTEM, context=replace(CONTEXT, mode=Mode.OFF))
    assert reply is None
    assert decision.reason == "ignored: DHCP is off on br0"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes; a DHCP message has at least 240"),
        (SYSTEM.bytes(DISCOVER, op=2), "op 2 is not a request"),
        (SYSTEM.bytes(b""), "option 53 (message type) is missing or not one byte long"),
        (SYSTEM.bytes(b"\x0d"), "message type 13 is not served here"),
        (SYSTEM.bytes(OFFER), "sent OFFER, which only servers send"),
        (SYSTEM.bytes(REQUEST), "requested no address"),
        (SYSTEM.bytes(REQUEST, {50: b"\x01"}), "option 50 has 1 bytes; an address has four"),
        (SYSTEM.bytes(INFORM), "without saying at which address"),
        (SYSTEM.bytes(DISCOVER, hlen=16), "hardware type 1, length 16"),
        (SYSTEM.bytes(DISCOVER, hlen=0), "hardware type 1, length 0"),
        (SYSTEM.bytes(DISCOVER, chaddr=b"\xff" * 16), "address ff:ff:ff:ff:ff:ff is no Ethernet station"),
        (Asker(mac=FAR_MAC).bytes(DISCOVER), "its address 10.99.0.5 is not in 10.98.0.0/24, where it asks"),
    ],
)
def test_nothing_is_dropped_without_a_reason(data: bytes, says: str) -> None:
    decision = handle(data, RACK, CONTEXT, NOW)
    assert decision.reply is None
    assert decision.kind is Kind.DHCP_IGNORED
    assert says in decision.reason


def test_a_machine_without_a_role_keeps_its_reservation_but_is_not_booted() -> None:
    listed = machine("bare", MAC, IP, State.NEW)
    decision, offer = ask(pxe(7), inventory=rack(listed))
    assert offer is not None
    assert (offer.yiaddr, offer.file) == (IP, b"")
    assert "no boot file: listed without role or address" in decision.reason
    assert UUID97 not in offer.options.values()
