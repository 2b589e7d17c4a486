"""Clients without a reservation: an address of the subnet's pool, as far as its policy goes.

The order is RFC 2131 §4.3.1's: what the client has, what it had, what it asks for, what is free. Whether the wire
agrees that an address is free is asked while the offer is on its way (``conflict``); nothing waits for that here.
"""

from ipaddress import IPv4Address, IPv4Network

from provisioner.dhcp.decision import Case, Cause, Decision, granted, refused, requested, seen, silent
from provisioner.dhcp.leases import OFFERED_FOR, QUARANTINED_FOR, SECOND, Effect, Lease, LeaseState, Put
from provisioner.dhcp.options import MessageType
from provisioner.dhcp.packet import NOWHERE
from provisioner.domain.events import Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.subnet import UnknownPolicy


def answer(case: Case, inventory: Inventory, now: int, unicast: bool) -> Decision:  # noqa: PLR0911 - a table
    """Decide for a client that nothing is reserved for in this subnet. ``now``: UTC microseconds."""
    kind = case.question.type
    if case.subnet.unknown is UnknownPolicy.IGNORE:
        return silent(case, f"ignored: {case.plan.reason}{_remedy(case)}", Cause.UNLISTED, effects=seen(case, now))
    if case.is_for_another_server:
        return _took_another(case, now)
    if kind is MessageType.INFORM:
        return _inform(case)
    if not case.subnet.pools:
        why = (
            f"ignored: {case.plan.reason}, but the subnet has no pool; "
            f"`provisioner subnet set {case.subnet.prefix} --pool FIRST-LAST` gives it one{_remedy(case)}"
        )
        return silent(case, why, Cause.NO_POOL, effects=seen(case, now))
    match kind:
        case MessageType.DISCOVER:
            return _discover(case, inventory, now)
        case MessageType.REQUEST:
            return _request(case, inventory, now, unicast)
        case MessageType.DECLINE:
            return _decline(case, now)
        case MessageType.RELEASE:
            return _release(case, now)
        case other:
            return silent(case, f"sent {other.name}, which only servers send", Cause.NOT_A_CLIENT)


def _discover(case: Case, inventory: Inventory, now: int) -> Decision:
    mac, leases = case.question.mac, case.context.leases
    lease = leases.of(mac, case.subnet)
    if lease is not None and not _taken(case, inventory, lease.address):
        if lease.state is LeaseState.BOUND and lease.holds(now):
            return granted(
                case, MessageType.OFFER, lease.address, f"asked for an address; offered {lease.address} again"
            )
        return _offer(case, lease.address, "which it had before", now)
    if not leases.may_start(case.context.interface, now):
        why = (
            f"asked for an address; not offered, too many new clients start on {case.context.interface} at once; "
            "it is served when it asks again"
        )
        return silent(case, why, Cause.TOO_MANY_NEW, effects=seen(case, now))
    wanted = case.question.requested
    if wanted is not None and _available(case, inventory, wanted, now):
        return _offer(case, wanted, "which it asked for", now)
    chosen = leases.choose(case.subnet, lambda address: _taken(case, inventory, address), now)
    if chosen is None:
        why = (
            f"asked for an address; the pool of {case.subnet.prefix} is used up; "
            f"`provisioner subnet set {case.subnet.prefix} --pool …` with more addresses, or a shorter lease"
        )
        return silent(case, why, Cause.POOL_EMPTY, effects=seen(case, now))
    return _offer(case, chosen, "from the pool", now)


def _offer(case: Case, address: IPv4Address, whence: str, now: int) -> Decision:
    held = Put(Lease(address, case.question.mac, LeaseState.OFFERED, now + OFFERED_FOR), durable=False)
    done = f"asked for an address; offered {address} {whence}"
    return granted(case, MessageType.OFFER, address, done, (held, *seen(case, now)))


def _request(case: Case, inventory: Inventory, now: int, unicast: bool) -> Decision:  # noqa: PLR0911 - a table
    """The four states of RFC 2131 §4.3.2, told apart by options 54 and 50 and by ciaddr (table 4)."""
    question, leases = case.question, case.context.leases
    wanted = question.requested or question.ciaddr
    if wanted == NOWHERE:
        why = "requested no address: neither option 50 nor ciaddr is there"
        return silent(case, why, Cause.INCOMPLETE)
    coming_back = question.server_id is None and question.requested is not None
    done = requested(question, wanted, unicast)
    if wanted not in case.subnet.prefix:
        return refused(case, f"{done}; refused, that is not in {case.subnet.prefix}")
    held = leases.get(wanted)
    if held is not None and held.mac == question.mac and held.state is not LeaseState.QUARANTINED:
        if _taken(case, inventory, wanted):
            return refused(case, f"{done}; refused, that address is not given out any more")
        return _bind(case, wanted, done, now)
    if coming_back and leases.of(question.mac, case.subnet) is None:
        # RFC 2131 §4.3.2: with no record of the client the server must stay silent; another one may know it.
        return silent(
            case, f"{done}, but nothing is known of such a lease", Cause.NO_LEASE, effects=seen(case, now)
        )
    if not coming_back and _available(case, inventory, wanted, now):
        # The lease file was lost, or the offer forgotten in a restart: nobody else has it, so it is given again.
        return _bind(case, wanted, f"{done}, unknown here but free", now)
    to_everyone = question.server_id is None and not (unicast and question.packet.giaddr == NOWHERE)
    if to_everyone and held is None and not _pooled(case, wanted) and not _taken(case, inventory, wanted):
        # REBINDING asks all servers. An address that was never ours to give is its giver's to refuse.
        return silent(case, f"{done}, which is in no pool here; another server may know it", Cause.NO_LEASE)
    return refused(case, f"{done}; refused, it is {_why_not(case, inventory, wanted)}")


def _bind(case: Case, address: IPv4Address, done: str, now: int) -> Decision:
    seconds = case.subnet.lease_seconds
    bound = Lease(address, case.question.mac, LeaseState.BOUND, now + seconds * SECOND)
    return granted(case, MessageType.ACK, address, f"{done}; leased for {seconds} s", (Put(bound, durable=True),))


def _decline(case: Case, now: int) -> Decision:
    declined = case.question.requested
    lease = case.context.leases.get(declined) if declined is not None else None
    if lease is None or lease.mac != case.question.mac or lease.state is LeaseState.QUARANTINED:
        return silent(case, f"declined {declined or 'no address'}, which is not its own", Cause.INCOMPLETE)
    return silent(
        case,
        f"declined {declined}: another device answers on it; find that device; "
        f"not given out for {QUARANTINED_FOR // SECOND} s",
        Cause.NOTED,
        Kind.DHCP_DECLINE,
        (Put(Lease(lease.address, lease.mac, LeaseState.QUARANTINED, now + QUARANTINED_FOR), durable=True),),
    )


def _release(case: Case, now: int) -> Decision:
    address = case.question.ciaddr
    lease = case.context.leases.get(address)
    if lease is None or lease.mac != case.question.mac or lease.state is not LeaseState.BOUND:
        return silent(case, f"released {address}, which it does not have", Cause.NO_LEASE)
    free = Lease(address, lease.mac, LeaseState.RELEASED, now)
    return silent(
        case,
        f"released {address}; it gets it again if nobody else needs it first",
        Cause.NOTED,
        Kind.DHCP_RELEASE,
        (Put(free, durable=True),),
    )


def _took_another(case: Case, now: int) -> Decision:
    """RFC 2131 §3.1: an offer that was not taken is free at once. Never NAK: it is the other server's client."""
    lease = case.context.leases.of(case.question.mac, case.subnet)
    freed: tuple[Effect, ...] = ()
    if lease is not None and lease.state is LeaseState.OFFERED:
        freed = (Put(Lease(lease.address, lease.mac, LeaseState.RELEASED, now), durable=False),)
    why = f"{case.question.type.name} is for another DHCP server, {case.question.server_id}"
    return silent(case, why, Cause.OTHER_SERVER, effects=freed)


def _inform(case: Case) -> Decision:
    ciaddr = case.question.ciaddr
    if ciaddr == NOWHERE:
        return silent(case, "asked for options only, without saying at which address", Cause.INCOMPLETE)
    return granted(case, MessageType.ACK, ciaddr, f"asked for options only, at {ciaddr}")


def _available(case: Case, inventory: Inventory, address: IPv4Address, now: int) -> bool:
    """In the pool, and nobody's."""
    return (
        _pooled(case, address) and case.context.leases.free(address, now) and not _taken(case, inventory, address)
    )


def _pooled(case: Case, address: IPv4Address) -> bool:
    return any(address in pool for pool in case.subnet.pools)


def _taken(case: Case, inventory: Inventory, address: IPv4Address) -> bool:
    """Kept for something else than a lease, whatever the pool says."""
    subnet, context = case.subnet, case.context
    if inventory.reserved(address) or address in (context.address, subnet.gateway, *subnet.dns):
        return True
    if address in context.others or address in context.held_back:
        return True
    prefix = subnet.prefix
    if not isinstance(prefix, IPv4Network) or prefix.prefixlen > 30:
        return False
    return address in (prefix.network_address, prefix.broadcast_address)


def _why_not(case: Case, inventory: Inventory, address: IPv4Address) -> str:
    lease = case.context.leases.get(address)
    if lease is not None and lease.state is LeaseState.QUARANTINED:
        return "held by another device that answers on it"
    if _taken(case, inventory, address):
        return "kept for something else"
    return "somebody else's" if lease is not None else "in no pool"


def _remedy(case: Case) -> str:
    if case.machine is None:
        return f"; `provisioner machine add --mac {case.question.mac}` lists it"
    return (
        f"; no address is reserved for {case.question.mac} in {case.subnet.prefix}; "
        f"`provisioner machine set {case.machine.name} --ip ADDRESS`"
    )
