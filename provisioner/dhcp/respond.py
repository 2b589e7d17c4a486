"""What a DHCP client is told, and why: a pure function of its packet, the inventory and the receiving interface.

Identity is the MAC in ``chaddr``: the client-id of one machine differs between its ROM, iPXE and its system. A
reserved address needs no lease and no database; ``dynamic`` has the clients without one, ``proxy`` the segments
where somebody else gives addresses.
"""

from ipaddress import IPv4Address

from provisioner.dhcp import dynamic, proxy
from provisioner.dhcp.decision import Case, Cause, Context, Decision, Mode, granted, refused, requested, silent
from provisioner.dhcp.leases import HELD_FOR, HoldBack, Sight
from provisioner.dhcp.options import MessageType
from provisioner.dhcp.packet import BOOTREQUEST, NOWHERE, MalformedPacket, Packet, decode
from provisioner.dhcp.question import Question, read
from provisioner.domain.boot import plan_boot
from provisioner.domain.events import Kind, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine, State
from provisioner.domain.subnet import Subnet, UnknownPolicy

__all__ = ["Context", "Decision", "Mode", "handle"]


def handle(  # noqa: PLR0911 - a table
    data: bytes,
    inventory: Inventory,
    context: Context,
    now: int,
    *,
    unicast: bool = False,
    boot_port: int | None = None,
) -> Decision:
    """Answer one datagram. ``now``: UTC microseconds; ``unicast``: it was sent to our address, not broadcast;
    ``boot_port``: it came to port 4011, from this port.

    Never raises for anything that a client can send; what is not answered has its reason in the decision.
    """
    try:
        packet = decode(data)
    except MalformedPacket as bad:
        return Decision(None, f"not a DHCP message: {bad}", Kind.DHCP_IGNORED, cause=Cause.MALFORMED)
    mac = packet.mac
    if packet.op != BOOTREQUEST or mac is None:
        cause = Cause.NOT_A_CLIENT if packet.op != BOOTREQUEST else Cause.NO_ETHERNET_ADDRESS
        return Decision(None, f"ignored: {_nobodys(packet)}", Kind.DHCP_IGNORED, cause=cause)
    machine = inventory.by_mac(mac)
    machine_id = machine.id if machine is not None else None
    if context.mode is Mode.OFF:
        why = f"ignored: DHCP is off on {context.interface}"
        return Decision(None, why, Kind.DHCP_IGNORED, machine_id, mac, cause=Cause.OFF)
    try:
        question = read(packet, mac)
    except MalformedPacket as bad:
        return Decision(None, f"ignored: {bad}", Kind.DHCP_IGNORED, machine_id, mac, cause=Cause.MALFORMED)
    subnet = _network(question, inventory, context, unicast)
    if subnet is None:
        return _no_subnet(question, machine, context, now)
    case = _case(question, machine, subnet, context, now)
    if machine is not None and machine.state is State.RETIRED:
        return silent(case, f"ignored: {case.plan.reason}", Cause.RETIRED)
    if boot_port is not None:
        return proxy.boot_server(case, boot_port)
    if context.mode is Mode.PROXY:
        return proxy.offer(case, now)
    if machine is None or (case.address is None and _pooled(machine, case)):
        return dynamic.answer(case, inventory, now, unicast)
    if case.is_for_another_server:
        # Never NAK: it is the other server's client.
        why = f"{question.type.name} is for another DHCP server, {question.server_id}"
        return silent(case, why, Cause.OTHER_SERVER)
    return _by_type(case, now, unicast)


def _network(question: Question, inventory: Inventory, context: Context, unicast: bool) -> Subnet | None:
    """The client's network: as its relay says; the one of its address, where it writes to us past its relay, as it
    does to renew, to inform itself and to release (RFC 2131 §4.4.5, §4.4.6); else the one that it was heard on."""
    if question.link is None and unicast and question.ciaddr != NOWHERE:
        routed = inventory.subnet_of(question.ciaddr)
        if routed is not None:
            return routed
    return inventory.subnet_of(question.link or context.address)


def _case(question: Question, machine: Machine | None, subnet: Subnet, context: Context, now: int) -> Case:
    reserved = machine.address_for(question.mac) if machine is not None else None
    return Case(
        question,
        context,
        machine,
        subnet,
        plan_boot(machine, subnet, now),
        reserved if isinstance(reserved, IPv4Address) and reserved in subnet.prefix else None,
        # RFC 5107: the relay wants to see the renewals, too.
        question.server_id_override or context.address,
    )


def _pooled(machine: Machine, case: Case) -> bool:
    """A listed machine's NIC without a reservation is served from the pool where strangers are. One that has its
    reservation in another network has been moved or plugged in wrong, which an address would only hide."""
    policy = case.subnet.unknown
    return (
        policy is not UnknownPolicy.IGNORE
        and bool(case.subnet.pools)
        and machine.address_for(case.question.mac) is None
    )


def _by_type(case: Case, now: int, unicast: bool) -> Decision:
    match case.question.type:
        case MessageType.DISCOVER:
            return _discover(case, now)
        case MessageType.REQUEST:
            return _request(case, unicast)
        case MessageType.DECLINE:
            return _decline(case, now)
        case MessageType.RELEASE:
            # A reservation stays reserved: nothing to free, nothing to remember.
            return silent(case, "released its address; the reservation stays", Cause.NOTED, Kind.DHCP_RELEASE)
        case MessageType.INFORM:
            return _inform(case)
        case other:
            return silent(case, f"sent {other.name}, which only servers send", Cause.NOT_A_CLIENT)


def _nobodys(packet: Packet) -> str:
    if packet.op != BOOTREQUEST:
        return f"op {packet.op} is not a request"
    address = packet.chaddr[: packet.hlen].hex(":")
    return f"hardware type {packet.htype}, length {packet.hlen}, address {address} is no Ethernet station"


def _no_subnet(question: Question, machine: Machine | None, context: Context, now: int) -> Decision:
    link = question.link
    where = f"relay address {link}" if link else f"{context.address} on {context.interface}"
    why = f"no configured subnet holds {where}; `provisioner subnet add` one"
    if machine is not None:
        return Decision(None, f"ignored: {why}", Kind.DHCP_IGNORED, machine.id, question.mac, cause=Cause.NO_SUBNET)
    by = f"{context.interface}" + (f" by relay {question.packet.giaddr}" if link else "")
    sight = Sight(Sighting(question.mac, "dhcp", now, f"{question.client} on {by}"))
    why = f"ignored: unknown MAC, and {why}"
    return Decision(None, why, Kind.DHCP_IGNORED, mac=question.mac, effects=(sight,), cause=Cause.NO_SUBNET)


def _discover(case: Case, now: int) -> Decision:
    if case.address is None:
        return silent(case, _no_address(case), Cause.NO_ADDRESS)
    context = case.context
    if case.address in context.held_back:
        why = f"{case.address} was declined because another device answers on it; find that device"
        return silent(case, why, Cause.HELD_BACK)
    lease = context.leases.get(case.address)
    if lease is not None and lease.mac != case.question.mac and lease.holds(now):
        # It was reserved after the pool had given it out. The holder is refused when it renews.
        why = f"{case.address} is leased to {lease.mac} until it renews or its lease ends; it is not offered before"
        return silent(case, why, Cause.HELD_BACK)
    return granted(case, MessageType.OFFER, case.address, f"asked for an address; offered {case.address}")


def _request(case: Case, unicast: bool) -> Decision:
    """The four states of RFC 2131 §4.3.2, told apart by options 54 and 50 and by ciaddr (table 4)."""
    question = case.question
    wanted = question.requested or question.ciaddr
    if wanted == NOWHERE:
        return silent(case, "requested no address: neither option 50 nor ciaddr is there", Cause.INCOMPLETE)
    done = requested(question, wanted, unicast)
    if wanted == case.address:
        return granted(case, MessageType.ACK, wanted, f"{done}; confirmed for {case.subnet.lease_seconds} s")
    if wanted not in case.subnet.prefix:
        return refused(case, f"{done}; refused, that is not in {case.subnet.prefix}")
    if case.address is not None:
        return refused(case, f"{done}; refused, its address is {case.address}")
    return silent(case, f"{done}, but {_no_address(case)}", Cause.NO_ADDRESS)


def _decline(case: Case, now: int) -> Decision:
    declined = case.question.requested
    if declined is None or declined != case.address:
        return silent(case, f"declined {declined or 'no address'}, which is not its own", Cause.INCOMPLETE)
    why = (
        f"declined {declined}: another device answers on it; find that device, or give the machine another address"
    )
    return silent(
        case,
        f"{why}; not offered for {HELD_FOR // 1_000_000} s",
        Cause.NOTED,
        Kind.DHCP_DECLINE,
        (HoldBack(declined, now + HELD_FOR),),
    )


def _inform(case: Case) -> Decision:
    ciaddr = case.question.ciaddr
    if ciaddr == NOWHERE:
        return silent(case, "asked for options only, without saying at which address", Cause.INCOMPLETE)
    return granted(case, MessageType.ACK, ciaddr, f"asked for options only, at {ciaddr}")


def _no_address(case: Case) -> str:
    machine, mac = case.machine, case.question.mac
    if machine is None:
        raise ValueError("only listed machines have reservations")
    elsewhere = machine.address_for(mac)
    if elsewhere is not None:
        return f"its address {elsewhere} is not in {case.subnet.prefix}, where it asks"
    return (
        f"no address is reserved for {mac} in {case.subnet.prefix}; "
        f"`provisioner machine set {machine.name} --ip ADDRESS`"
    )
