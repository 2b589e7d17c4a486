"""Machines that come by themselves: listed when they boot from the network, described by their loader."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from provisioner.actions.adoption import free_name
from provisioner.actions.enrol import describe, differences, kept, put_machine, record_state
from provisioner.actions.front import Front
from provisioner.actions.intent import Fields, rules_in, seated
from provisioner.domain.boot import Action, BootPlan, plan_boot
from provisioner.domain.errors import IllegalTransition, InvalidValue, NotAdmitted
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.lifecycle import approved, contradicts_port, missing_for_ready, quarantined, settled
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Interface, IPAddress, Machine, Slot, State
from provisioner.domain.place import Place
from provisioner.domain.ports import Store, Transaction

MOST = 1000
"""Newcomers that may wait; a flood of invented MACs must not become a flood of machines."""
NICS = 8
"""MACs that a loader tells, net0 to net7."""


def list_seen(tx: Transaction, sightings: Iterable[Sighting]) -> None:
    """List those that their subnet's policy wants listed; who boots at an empty slot's switch port goes there."""
    for sighting in sightings:
        if not (sighting.enrol or sighting.switch_port) or tx.machines.find(str(sighting.mac)) is not None:
            continue
        place = tx.slots.at_port(sighting.switch_port) if sighting.switch_port else None
        if place is not None and place.machine_id is None:
            _seat(tx, place, sighting)
        elif sighting.enrol:
            if tx.machines.newcomers() >= MOST:
                tx.events.add(_too_many(sighting))
                return
            _list(tx, sighting, place)


def _seat(tx: Transaction, place: Place, sighting: Sighting) -> None:
    """Where it is plugged in says which place it is (RFC 3046): the slot's name, role and addresses are its own."""
    machine = replace(_board(sighting, place.slot), addresses=seated(place.addresses, (sighting.mac,)))
    missing = missing_for_ready(machine)
    reason = f"lacks {' and '.join(missing)}" if missing else "has a role and an address"
    state = State.NEW if missing else State.READY
    stored = tx.machines.put(replace(machine, state=state, state_reason=reason))
    message = (
        f"{sighting.mac} came by itself on switch port {sighting.switch_port}, which is slot {place.name}: it has "
        f"{kept(stored)}"
    )
    tx.events.add(Event(Kind.MACHINE_ADDED, message, sighting.at, stored.id, sighting.mac, actor="dhcp"))


def _list(tx: Transaction, sighting: Sighting, place: Place | None) -> None:
    mac = sighting.mac
    machine = replace(_board(sighting, Slot(uuid4(), free_name(tx, mac))), approved=sighting.enrol != "approve")
    machine = replace(machine, state_reason=f"lacks {' and '.join(missing_for_ready(machine))}")
    verb = "set" if machine.approved else "approve"
    fix = f"`provisioner machine {verb} {machine.name} --role ROLE --ip ADDRESS`"
    if place is not None:
        machine = quarantined(machine, _contradiction(tx, sighting, place, machine.name), sighting.at)
        fix = machine.state_reason
    stored = tx.machines.put(machine)
    message = f"came by itself and was listed as {stored.name}: {sighting.detail}; {fix}"
    tx.events.add(Event(Kind.MACHINE_ADDED, message, sighting.at, stored.id, mac, actor="dhcp"))


def _board(sighting: Sighting, slot: Slot) -> Machine:
    nic = Interface(uuid4(), sighting.mac, switch_port=sighting.switch_port, source="dhcp")
    return Machine(uuid4(), slot, interfaces=(nic,), firmware=sighting.firmware, state_at=sighting.at)


def _contradiction(tx: Transaction, sighting: Sighting, place: Place, name: str) -> str:
    there = tx.machines.get(str(place.machine_id))
    macs = ", ".join(map(str, there.macs)) or "no MAC"
    return (
        f"boots from switch port {sighting.switch_port}, which is slot {place.name}, where {macs} sits; if its "
        f"board was replaced, `provisioner machine accept {name}` and then "
        f"`provisioner slot replace {place.name} --mac {sighting.mac}`"
    )


def _too_many(sighting: Sighting) -> Event:
    why = (
        f"{sighting.mac} is not listed: {MOST} machines that came by themselves wait already; give them a role and "
        "an address, or `provisioner machine remove` them"
    )
    return Event(Kind.DHCP_IGNORED, why, sighting.at, mac=sighting.mac, actor="dhcp")


def kept_in_place(tx: Transaction, machine: Machine, switch_port: str, now: int) -> Machine:
    """The machine that boots from this switch port; quarantined, if its place is wired to another."""
    contradiction = contradicts_port(machine, switch_port)
    if not contradiction or machine.state in (State.QUARANTINED, State.RETIRED):
        return machine
    after = tx.machines.put(quarantined(machine, contradiction, now))
    record_state(tx, machine, after, now)
    return after


def approve(
    store: Store,
    ref: str,
    fields: Fields | None = None,
    *,
    actor: str,
    now: int,
    roles: frozenset[str] | None = None,
) -> Machine:
    """Take in a machine that came by itself, and set these of its fields: all of it, or nothing.

    Raises NotFound, IllegalTransition, InvalidValue, Conflict.
    """
    with store.transaction(actor) as tx:
        before = tx.machines.get(ref)
        after = tx.machines.put(approved(before, now))
        if before.state is not after.state:
            record_state(tx, before, after, now)
        else:
            message = f"approved; {after.state_reason}"
            tx.events.add(Event(Kind.MACHINE_CHANGED, message, now, after.id, after.boot_mac, actor=actor))
        return put_machine(tx, after, fields, now=now, rules=rules_in(tx, roles)) if fields else after


@dataclass(frozen=True, slots=True)
class Told:
    """What a loader reads from SMBIOS and its network cards."""

    mac: Mac
    others: tuple[Mac, ...] = ()
    vendor: str = ""
    model: str = ""
    serial: str = ""
    uuid: UUID | None = None


def told(query: Mapping[str, str]) -> Told:
    """Read it from a query. Raises InvalidValue for a MAC or UUID that is none; other text is only cut."""
    if not query.get("mac"):
        raise InvalidValue("mac", "", "is missing from the query", "ask for /discovered?mac=52:54:00:12:34:56")
    mac = Mac.parse(query["mac"])
    others = (Mac.parse(query[name]) for name in (f"net{n}" for n in range(NICS)) if query.get(name))
    try:
        uuid = UUID(query["uuid"]) if query.get("uuid") else None
    except ValueError:
        raise InvalidValue("uuid", query["uuid"][:60], "is no UUID", "leave it out") from None
    vendor, model, serial = (_words(query.get(name, "")) for name in ("manufacturer", "product", "serial"))
    return Told(mac, tuple(dict.fromkeys(other for other in others if other != mac)), vendor, model, serial, uuid)


def _words(text: str) -> str:
    """SMBIOS strings are padded and of any bytes; what is not printable is nobody's name."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:120]


def describe_newcomer(front: Front, hardware: Told, source: IPAddress, now: int) -> tuple[Machine, BootPlan]:
    """Keep what the loader of a machine that is to be discovered tells; it adds, and never overwrites.

    Raises NotAdmitted when the machine is not to be discovered there, or another one asks in its name.
    """
    inventory = front.snapshot.inventory
    neighbour = front.neighbour(source)
    if neighbour is not None and neighbour != hardware.mac:
        why = f"{source} is at {neighbour}, and speaks for {hardware.mac}"
        raise NotAdmitted(why, "only a machine itself tells what it is made of")
    with front.store.transaction("machine") as tx:
        before = tx.machines.find(str(hardware.mac))
        plan = plan_boot(before, inventory.subnet_of(source), now)
        if plan.action is not Action.DISCOVER:
            raise NotAdmitted(f"{hardware.mac} is not to be discovered: {plan.reason}", "it boots as it is planned")
        if before is None:
            subnet = inventory.subnet_of(source)
            policy = str(subnet.unknown) if subnet is not None else ""
            sighting = Sighting(hardware.mac, "dhcp", now, f"its loader asked from {source}", policy)
            list_seen(tx, [sighting])
            before = tx.machines.find(str(hardware.mac))
        if before is None:
            raise NotAdmitted(f"{hardware.mac} is not listed", "too many newcomers wait; see the events")
        after = settled(_with(tx, before, hardware), now)
        if after != before:
            after = tx.machines.put(after)
            what = ", ".join(differences(before, after)) or describe(after)
            tx.events.add(Event(Kind.MACHINE_CHANGED, f"told by its loader: {what}", now, after.id, hardware.mac))
    return after, plan_boot(after, inventory.subnet_of(source), now)


def _with(tx: Transaction, machine: Machine, hardware: Told) -> Machine:
    if machine.state is not State.NEW:
        raise IllegalTransition(f"machine {machine.name} is {machine.state}", "it is known already")
    # A card that another machine has is that machine's until an operator says otherwise.
    fresh = [mac for mac in hardware.others if mac not in machine.macs and tx.machines.find(str(mac)) is None]
    nics = tuple(Interface(uuid4(), mac, boot=False, source="discovery") for mac in fresh)
    return replace(
        machine,
        interfaces=(*machine.interfaces, *nics),
        vendor=machine.vendor or hardware.vendor,
        model=machine.model or hardware.model,
        serial=machine.serial or hardware.serial,
        uuid=machine.uuid or hardware.uuid,
    )
