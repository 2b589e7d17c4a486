"""What a DHCP client is told, and why: a pure function of its packet, the inventory and the receiving interface.

Identity is the MAC in ``chaddr``: the client-id of one machine differs between its ROM, iPXE and its system.
Addresses are reservations, so an answer needs no lease and no database.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from uuid import UUID

from provisioner.dhcp import reply as replies
from provisioner.dhcp.leases import HELD_FOR, Effect, HoldBack, Sight
from provisioner.dhcp.netboot import boot_file
from provisioner.dhcp.options import MessageType
from provisioner.dhcp.packet import BOOTREQUEST, NOWHERE, MalformedPacket, Packet, decode
from provisioner.dhcp.question import Client, Question, read
from provisioner.dhcp.reply import Reply
from provisioner.domain.boot import Action, BootPlan, plan_boot
from provisioner.domain.events import Kind, Sighting
from provisioner.domain.firmware import Firmware
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine, Phase, State
from provisioner.domain.subnet import Subnet


class Mode(StrEnum):
    """What the appliance is on a segment."""

    AUTHORITATIVE = "authoritative"
    """The DHCP server."""
    PROXY = "proxy"
    """Boot files beside somebody else's DHCP server."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Context:
    """The interface that a packet came in by, and what the appliance has to offer there."""

    interface: str
    address: IPv4Address
    """Ours on this interface: server identifier, next server, and the host of the URLs."""
    ifindex: int = 0
    others: frozenset[IPv4Address] = frozenset()
    """Our addresses elsewhere: a client that names one of them as its server means us."""
    mode: Mode = Mode.AUTHORITATIVE
    loaders: frozenset[str] = frozenset()
    """File names of the loaders that are there."""
    http_port: int = 80
    """Of the machines' web app."""
    held_back: frozenset[IPv4Address] = frozenset()
    """Addresses that were declined a moment ago."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send, what to remember, and the sentence for the timeline."""

    reply: Reply | None
    reason: str
    kind: Kind
    machine_id: UUID | None = None
    mac: Mac | None = None
    phase: Phase | None = None
    effects: tuple[Effect, ...] = ()
    firmware: Firmware | None = None
    """Of a netboot client that named one we know."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A known machine's question, with everything that its answer depends on."""

    question: Question
    context: Context
    machine: Machine
    subnet: Subnet
    plan: BootPlan
    address: IPv4Address | None
    """Reserved for this NIC in this subnet."""
    server_id: IPv4Address


def handle(data: bytes, inventory: Inventory, context: Context, now: int, *, unicast: bool = False) -> Decision:
    """Answer one datagram. ``now``: UTC microseconds; ``unicast``: it was sent to our address, not broadcast.

    Never raises for anything that a client can send; what is not answered has its reason in the decision.
    """
    try:
        packet = decode(data)
    except MalformedPacket as bad:
        return Decision(None, f"not a DHCP message: {bad}", Kind.DHCP_IGNORED)
    mac = packet.mac
    if packet.op != BOOTREQUEST or mac is None:
        return Decision(None, f"ignored: {_nobodys(packet)}", Kind.DHCP_IGNORED)
    machine = inventory.by_mac(mac)
    machine_id = machine.id if machine else None
    if context.mode is not Mode.AUTHORITATIVE:
        why = f"ignored: DHCP is {context.mode} on {context.interface}"
        return Decision(None, why, Kind.DHCP_IGNORED, machine_id, mac)
    try:
        question = read(packet, mac)
    except MalformedPacket as bad:
        return Decision(None, f"ignored: {bad}", Kind.DHCP_IGNORED, machine_id, mac)
    if machine is None:
        return _unknown(question, inventory, context, now)
    return _listed(question, machine, inventory, context, now, unicast)


def _listed(
    question: Question, machine: Machine, inventory: Inventory, context: Context, now: int, unicast: bool
) -> Decision:
    subnet = _subnet(question, inventory, context)
    if subnet is None:
        return _ignored(question, machine, _no_subnet(question, context))
    plan = plan_boot(machine, subnet, now)
    if machine.state is State.RETIRED:
        return _ignored(question, machine, plan.reason)
    reserved = machine.address_for(question.mac)
    # RFC 5107: the relay wants to see the renewals, too.
    server_id = question.server_id_override or context.address
    case = _Case(
        question,
        context,
        machine,
        subnet,
        plan,
        reserved if isinstance(reserved, IPv4Address) and reserved in subnet.prefix else None,
        server_id,
    )
    named = question.server_id
    if named is not None and named not in (context.address, server_id) and named not in context.others:
        # Never NAK: it is the other server's client.
        return _silent(case, f"{question.type.name} is for another DHCP server, {named}")
    return _by_type(case, now, unicast)


def _by_type(case: _Case, now: int, unicast: bool) -> Decision:
    match case.question.type:
        case MessageType.DISCOVER:
            return _discover(case)
        case MessageType.REQUEST:
            return _request(case, unicast)
        case MessageType.DECLINE:
            return _decline(case, now)
        case MessageType.RELEASE:
            # A reservation stays reserved: nothing to free, nothing to remember.
            return _silent(case, "released its address; the reservation stays", Kind.DHCP_RELEASE)
        case MessageType.INFORM:
            return _inform(case)
        case other:
            return _silent(case, f"sent {other.name}, which only servers send")


def _nobodys(packet: Packet) -> str:
    if packet.op != BOOTREQUEST:
        return f"op {packet.op} is not a request"
    address = packet.chaddr[: packet.hlen].hex(":")
    return f"hardware type {packet.htype}, length {packet.hlen}, address {address} is no Ethernet station"


def _unknown(question: Question, inventory: Inventory, context: Context, now: int) -> Decision:
    subnet = _subnet(question, inventory, context)
    plan = plan_boot(None, subnet, now)
    seen = f"{question.client}" + (f" {question.firmware}" if question.firmware is not Firmware.UNKNOWN else "")
    where = f"{context.interface}" + (f" by relay {question.packet.giaddr}" if question.link else "")
    if subnet is None:
        why = f"unknown MAC, and {_no_subnet(question, context)}"
    else:
        # Any other policy leads to a dynamic address first, and only reserved ones are given out.
        needs = "" if plan.action is Action.NOTHING else ", but only reserved addresses are given out"
        why = f"{plan.reason}{needs}; `provisioner machine add --mac {question.mac}` lists it"
    return Decision(
        None,
        f"ignored: {why}",
        Kind.DHCP_IGNORED,
        mac=question.mac,
        effects=(Sight(Sighting(question.mac, "dhcp", now, f"{seen} on {where}")),),
        firmware=_firmware(question),
    )


def _discover(case: _Case) -> Decision:
    if case.address is None:
        return _silent(case, _no_address(case))
    if case.address in case.context.held_back:
        why = f"{case.address} was declined because another device answers on it; find that device"
        return _silent(case, why)
    return _granted(case, MessageType.OFFER, case.address, f"asked for an address; offered {case.address}")


def _request(case: _Case, unicast: bool) -> Decision:
    """The four states of RFC 2131 §4.3.2, told apart by options 54 and 50 and by ciaddr (table 4)."""
    question = case.question
    wanted = question.requested or question.ciaddr
    if wanted == NOWHERE:
        return _silent(case, "requested no address: neither option 50 nor ciaddr is there")
    if question.server_id is not None:
        done = f"took {wanted}"
    elif question.requested is not None:
        done = f"came back with {wanted} (INIT-REBOOT)"
    else:
        done = f"renewed {wanted}" if unicast else f"renewed {wanted} by broadcast (REBINDING)"
    if wanted == case.address:
        return _granted(case, MessageType.ACK, wanted, f"{done}; confirmed for {case.subnet.lease_seconds} s")
    if wanted not in case.subnet.prefix:
        return _refused(case, f"{done}; refused, that is not in {case.subnet.prefix}")
    if case.address is not None:
        return _refused(case, f"{done}; refused, its address is {case.address}")
    return _silent(case, f"{done}, but {_no_address(case)}")


def _decline(case: _Case, now: int) -> Decision:
    declined = case.question.requested
    if declined is None or declined != case.address:
        return _silent(case, f"declined {declined or 'no address'}, which is not its own")
    why = (
        f"declined {declined}: another device answers on it; find that device, or give the machine another address"
    )
    return _silent(
        case,
        f"{why}; not offered for {HELD_FOR // 1_000_000} s",
        Kind.DHCP_DECLINE,
        (HoldBack(declined, now + HELD_FOR),),
    )


def _inform(case: _Case) -> Decision:
    ciaddr = case.question.ciaddr
    if ciaddr == NOWHERE:
        return _silent(case, "asked for options only, without saying at which address")
    return _granted(case, MessageType.ACK, ciaddr, f"asked for options only, at {ciaddr}")


def _granted(case: _Case, kind: MessageType, address: IPv4Address, done: str) -> Decision:
    question, context = case.question, case.context
    boot, why = boot_file(question, case.plan, context.address, context.http_port, context.loaders)
    reply, note = replies.grant(question, kind, address, case.server_id, case.subnet, case.machine.name, boot)
    phase = None
    if question.client is not Client.SYSTEM:
        phase = Phase.LOADER if question.client is Client.IPXE else Phase.FIRMWARE
    return Decision(
        reply,
        f"{done}{', ' if why else ''}{why}{note}",
        Kind.DHCP_OFFER if kind is MessageType.OFFER else Kind.DHCP_ACK,
        case.machine.id,
        question.mac,
        phase,
        firmware=_firmware(question),
    )


def _refused(case: _Case, reason: str) -> Decision:
    reply = replies.nak(case.question, case.server_id, reason)
    return Decision(
        reply, reason, Kind.DHCP_NAK, case.machine.id, case.question.mac, firmware=_firmware(case.question)
    )


def _silent(case: _Case, reason: str, kind: Kind = Kind.DHCP_IGNORED, effects: tuple[Effect, ...] = ()) -> Decision:
    return Decision(None, reason, kind, case.machine.id, case.question.mac, effects=effects)


def _ignored(question: Question, machine: Machine, why: str) -> Decision:
    return Decision(None, f"ignored: {why}", Kind.DHCP_IGNORED, machine.id, question.mac)


def _firmware(question: Question) -> Firmware | None:
    return question.firmware if question.firmware is not Firmware.UNKNOWN else None


def _subnet(question: Question, inventory: Inventory, context: Context) -> Subnet | None:
    """The client's network: as its relay says, else the one that the packet came in by."""
    return inventory.subnet_of(question.link or context.address)


def _no_subnet(question: Question, context: Context) -> str:
    where = f"relay address {question.link}" if question.link else f"{context.address} on {context.interface}"
    return f"no configured subnet holds {where}; `provisioner subnet add` one"


def _no_address(case: _Case) -> str:
    machine, mac = case.machine, case.question.mac
    elsewhere = machine.address_for(mac)
    if elsewhere is not None:
        return f"its address {elsewhere} is not in {case.subnet.prefix}, where it asks"
    return (
        f"no address is reserved for {mac} in {case.subnet.prefix}; "
        f"`provisioner machine set {machine.name} --ip ADDRESS`"
    )
