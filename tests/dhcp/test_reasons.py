"""Every packet that is not answered: its whole decision, as the timeline tells and the metrics count it."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from provisioner.dhcp.decision import Cause, Context, Decision, Mode
from provisioner.dhcp.leases import HoldBack, Lease, LeaseBook, LeaseState, Sight
from provisioner.dhcp.respond import handle
from provisioner.domain.events import Kind, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Install, State
from provisioner.domain.subnet import AddressRange, UnknownPolicy

from .rack import (
    CONTEXT,
    DECLINE,
    DISCOVER,
    FAR,
    FAR_IP,
    FAR_MAC,
    FAR_NODE,
    INFORM,
    IP,
    MAC,
    NEAR,
    NODE,
    NOW,
    OFFER,
    RACK,
    RELAY,
    RELEASE,
    REQUEST,
    SERVER,
    SPACE,
    STRANGER,
    SYSTEM,
    Asker,
    ask,
    machine,
    pxe,
    rack,
)

LOST = replace(CONTEXT, address=IPv4Address("192.0.2.1"))
UNKNOWN = Asker(SYSTEM.options, STRANGER)
FAR_ASKER = Asker(SYSTEM.options, FAR_MAC)
BARE = machine("bare", MAC, None)
ADD = "`provisioner subnet add` one"


def leased(address: IPv4Address) -> LeaseBook:
    return LeaseBook([Lease(address, STRANGER, LeaseState.BOUND, NOW + 1)])


@dataclass(frozen=True)
class Unanswered:
    asker: Asker
    kind: bytes
    reason: str
    cause: Cause
    event: Kind = Kind.DHCP_IGNORED
    options: dict[int, bytes] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    context: Context = CONTEXT
    inventory: Inventory = RACK
    effects: tuple[Any, ...] = ()


CASES = {
    "an answer": Unanswered(
        SYSTEM, OFFER, "ignored: op 2 is not a request", Cause.NOT_A_CLIENT, fields={"op": 2}
    ),
    "no Ethernet": Unanswered(
        SYSTEM, DISCOVER,
        "ignored: hardware type 32, length 8, address 52:54:00:98:00:17:00:00 is no Ethernet station",
        Cause.NO_ETHERNET_ADDRESS, fields={"htype": 32, "hlen": 8},
    ),
    "DHCP is off": Unanswered(
        SYSTEM, DISCOVER, "ignored: DHCP is off on br0", Cause.OFF, context=replace(CONTEXT, mode=Mode.OFF)
    ),
    "no message type": Unanswered(
        Asker({}), b"\x09", "ignored: message type 9 is not served here", Cause.MALFORMED
    ),
    "a server's message": Unanswered(
        SYSTEM, b"\x05", "sent ACK, which only servers send", Cause.NOT_A_CLIENT
    ),
    "a wire without a subnet": Unanswered(
        SYSTEM, DISCOVER, f"ignored: no configured subnet holds 192.0.2.1 on br0; {ADD}", Cause.NO_SUBNET,
        context=LOST,
    ),
    "a relay without a subnet": Unanswered(
        SYSTEM, DISCOVER, f"ignored: no configured subnet holds relay address 192.0.2.9; {ADD}", Cause.NO_SUBNET,
        fields={"giaddr": IPv4Address("192.0.2.9")},
    ),
    "a stranger without a subnet": Unanswered(
        UNKNOWN, DISCOVER, f"ignored: unknown MAC, and no configured subnet holds 192.0.2.1 on br0; {ADD}",
        Cause.NO_SUBNET, context=LOST, effects=(Sight(Sighting(STRANGER, "dhcp", NOW, "system on br0")),),
    ),
    "a stranger behind a relay without a subnet": Unanswered(
        UNKNOWN, DISCOVER, f"ignored: unknown MAC, and no configured subnet holds relay address 192.0.2.9; {ADD}",
        Cause.NO_SUBNET, fields={"giaddr": IPv4Address("192.0.2.9")},
        effects=(Sight(Sighting(STRANGER, "dhcp", NOW, "system on br0 by relay 192.0.2.9")),),
    ),
    "a stranger who is ignored": Unanswered(
        UNKNOWN, DISCOVER, "ignored: unknown MAC; subnet 10.98.0.0/24 ignores such machines; "
        f"`provisioner machine add --mac {STRANGER}` lists it", Cause.UNLISTED,
        effects=(Sight(Sighting(STRANGER, "dhcp", NOW, "system on br0")),),
    ),
    "retired": Unanswered(
        SYSTEM, DISCOVER, "ignored: retired; restore it to serve it again", Cause.RETIRED,
        inventory=rack(machine("node17", MAC, IP, State.RETIRED)),
    ),
    "another server's": Unanswered(
        SYSTEM, REQUEST, "REQUEST is for another DHCP server, 192.0.2.9", Cause.OTHER_SERVER,
        options={50: IP.packed, 54: bytes((192, 0, 2, 9))},
    ),
    "no reservation": Unanswered(
        SYSTEM, DISCOVER, f"no address is reserved for {MAC} in 10.98.0.0/24; `provisioner machine set bare "
        "--ip ADDRESS`", Cause.NO_ADDRESS, inventory=rack(BARE),
    ),
    "no reservation, asked back": Unanswered(
        SYSTEM, REQUEST, f"came back with 10.98.0.17 (INIT-REBOOT), but no address is reserved for {MAC} in "
        "10.98.0.0/24; `provisioner machine set bare --ip ADDRESS`", Cause.NO_ADDRESS, inventory=rack(BARE),
        options={50: IP.packed},
    ),
    "plugged in elsewhere": Unanswered(
        FAR_ASKER, DISCOVER, f"its address {FAR_IP} is not in 10.98.0.0/24, where it asks", Cause.NO_ADDRESS
    ),
    "declined a moment ago": Unanswered(
        SYSTEM, DISCOVER, "10.98.0.17 was declined because another device answers on it; find that device",
        Cause.HELD_BACK, context=replace(CONTEXT, held_back=frozenset({IP})),
    ),
    "leased to somebody": Unanswered(
        SYSTEM, DISCOVER, f"10.98.0.17 is leased to {STRANGER} until it renews or its lease ends; it is not "
        "offered before", Cause.HELD_BACK, context=replace(CONTEXT, leases=leased(IP)),
    ),
    "no address requested": Unanswered(
        SYSTEM, REQUEST, "requested no address: neither option 50 nor ciaddr is there", Cause.INCOMPLETE
    ),
    "declined its own": Unanswered(
        SYSTEM, DECLINE, "declined 10.98.0.17: another device answers on it; find that device, or give the machine "
        "another address; not offered for 600 s", Cause.NOTED, Kind.DHCP_DECLINE, {50: IP.packed},
        effects=(HoldBack(IP, NOW + 600_000_000),),
    ),
    "declined another's": Unanswered(
        SYSTEM, DECLINE, "declined 10.98.0.99, which is not its own", Cause.INCOMPLETE,
        options={50: b"\x0a\x62\0\x63"},
    ),
    "declined nothing": Unanswered(
        SYSTEM, DECLINE, "declined no address, which is not its own", Cause.INCOMPLETE
    ),
    "released": Unanswered(
        SYSTEM, RELEASE, "released its address; the reservation stays", Cause.NOTED, Kind.DHCP_RELEASE,
        fields={"ciaddr": IP},
    ),
    "inform from nowhere": Unanswered(
        SYSTEM, INFORM, "asked for options only, without saying at which address", Cause.INCOMPLETE
    ),
    "no netboot client beside another server": Unanswered(
        SYSTEM, DISCOVER, "ignored: DHCP is proxy on br0, and this is no netboot client", Cause.NOT_NETBOOT,
        context=replace(CONTEXT, mode=Mode.PROXY),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_answered_says_why_and_is_counted(name: str) -> None:
    case = CASES[name]
    listed = case.inventory.by_mac(case.asker.mac)
    is_station = case.fields.get("op", 1) == 1 and case.fields.get("hlen", 6) == 6
    decision, reply = ask(
        case.asker, case.kind, case.options, inventory=case.inventory, context=case.context, **case.fields
    )
    assert reply is None
    assert decision == Decision(
        None,
        case.reason,
        case.event,
        listed.id if listed and is_station else None,
        case.asker.mac if is_station else None,
        effects=case.effects,
        cause=case.cause,
    )


def test_junk_says_why_and_is_counted() -> None:
    assert handle(b"junk", RACK, CONTEXT, NOW) == Decision(
        None,
        "not a DHCP message: 4 bytes; a DHCP message has at least 240",
        Kind.DHCP_IGNORED,
        cause=Cause.MALFORMED,
    )


def test_what_a_listed_machine_without_reservation_gets_depends_on_the_pool() -> None:
    pool = (AddressRange(IPv4Address("10.98.0.200"), IPv4Address("10.98.0.209")),)
    pooled = replace(NEAR, pools=pool, unknown=UnknownPolicy.ADDRESS)
    nothing = f"no address is reserved for {MAC} in 10.98.0.0/24; `provisioner machine set bare --ip ADDRESS`"
    for subnet, said in (
        (pooled, "asked for an address; offered 10.98.0.200 from the pool"),
        (replace(pooled, unknown=UnknownPolicy.IGNORE), nothing),
        (replace(pooled, pools=()), nothing),
    ):
        assert ask(SYSTEM, inventory=rack(BARE, subnets=(subnet, FAR)))[0].reason == said
    # One whose reservation is in another network has been plugged in wrong, which an address would only hide.
    _, reply = ask(FAR_ASKER, inventory=rack(FAR_NODE, subnets=(pooled, FAR)))
    assert reply is None


def test_a_packet_counts_as_broadcast_unless_it_is_said_otherwise() -> None:
    renewing = SYSTEM.bytes(REQUEST, ciaddr=IP)
    assert "by broadcast (REBINDING)" in handle(renewing, RACK, CONTEXT, NOW).reason
    assert "REBINDING" not in handle(renewing, RACK, CONTEXT, NOW, unicast=True).reason


def test_an_armed_machine_netboots_before_and_after_its_deadline() -> None:
    install = Install(SPACE, "worker", "r1", "hash", armed_at=NOW - 10, deadline=NOW + 10)
    armed = machine("node17", MAC, IP, State.ARMED, install=install)
    for now, said in ((NOW, "boot file snponly.efi"), (NOW + 11, "boot file snponly.efi")):
        assert said in ask(pxe(7), inventory=rack(armed), now=now)[0].reason


def test_an_inform_says_at_which_address() -> None:
    decision, ack = ask(SYSTEM, INFORM, ciaddr=IP)
    assert ack is not None
    assert decision.reply is not None
    assert (decision.reason, decision.reply.address) == (f"asked for options only, at {IP}", IP)
    relayed, _ = ask(Asker(SYSTEM.options, FAR_MAC), INFORM, ciaddr=FAR_IP, giaddr=RELAY)
    assert relayed.reply is not None
    assert relayed.reply.address == RELAY
    assert NODE.id == decision.machine_id
    assert (ack.options[54], ack.options[12]) == (SERVER.packed, b"node17")
