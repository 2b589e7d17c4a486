"""Machines that come by themselves: listed when they boot from the network, described by their loader."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from provisioner.actions.enrol import describe, differences, put_machine, record_state
from provisioner.actions.front import Front
from provisioner.actions.intent import Fields, rules_in
from provisioner.domain.boot import Action, BootPlan, plan_boot
from provisioner.domain.errors import IllegalTransition, InvalidValue, NotAdmitted
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.lifecycle import approved, missing_for_ready, settled
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Interface, IPAddress, Machine, Slot, State
from provisioner.domain.ports import Store, Transaction

MOST = 1000
"""Newcomers that may wait; a flood of invented MACs must not become a flood of machines."""
NICS = 8
"""MACs that a loader tells, net0 to net7."""


def list_seen(tx: Transaction, sightings: Iterable[Sighting]) -> None:
    """List those that their subnet's policy wants listed and that are not there yet."""
    for sighting in sightings:
        if not sighting.enrol or tx.machines.find(str(sighting.mac)) is not None:
            continue
        if tx.machines.newcomers() >= MOST:
            why = (
                f"{sighting.mac} is not listed: {MOST} machines that came by themselves wait already; give them a "
                "role and an address, or `provisioner machine remove` them"
            )
            tx.events.add(Event(Kind.DHCP_IGNORED, why, sighting.at, mac=sighting.mac, actor="dhcp"))
            return
        _listed(tx, sighting)


def _listed(tx: Transaction, sighting: Sighting) -> Machine:
    mac = sighting.mac
    machine = Machine(
        uuid4(),
        Slot(uuid4(), f"server-{mac.hex()}"),
        interfaces=(Interface(uuid4(), mac, switch_port=sighting.switch_port, source="dhcp"),),
        firmware=sighting.firmware,
        state_at=sighting.at,
        approved=sighting.enrol != "approve",
    )
    stored = tx.machines.put(replace(machine, state_reason=f"lacks {' and '.join(missing_for_ready(machine))}"))
    verb = "set" if stored.approved else "approve"
    message = (
        f"came by itself and was listed as {stored.name}: {sighting.detail}; "
        f"`provisioner machine {verb} {stored.name} --role ROLE --ip ADDRESS`"
    )
    tx.events.add(Event(Kind.MACHINE_ADDED, message, sighting.at, stored.id, mac, actor="dhcp"))
    return stored


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
