"""Machines into, within and out of the inventory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any
from uuid import UUID, uuid4

from provisioner.actions import fields as read
from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import IllegalTransition, InvalidValue
from provisioner.domain.events import Event, Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.lifecycle import settled
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, IPAddress, Machine, Slot, State
from provisioner.domain.option_set import show_options
from provisioner.domain.ports import Store, Transaction

FIELDS = (
    "name",
    "mac",
    "ip",
    "role",
    "rack",
    "unit",
    "chassis",
    "blade",
    "cluster",
    "bmc",
    "labels",
    "params",
    "options",
    "vendor",
    "model",
    "serial",
)
"""What an operator may state about a machine; ``macs`` is accepted for ``mac``."""

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What values are checked against: subnets for addresses, role names if roles are known."""

    inventory: Inventory
    roles: frozenset[str] | None = None


def add_machine(
    store: Store, fields: Fields, *, actor: str, now: int, roles: frozenset[str] | None = None
) -> Machine:
    """List a machine. Needs at least ``name`` and ``mac``. Raises InvalidValue, Conflict."""
    with store.transaction(actor) as tx:
        return put_machine(tx, None, fields, now=now, rules=rules_in(tx, roles))


def change_machine(
    store: Store,
    ref: str,
    fields: Fields,
    *,
    actor: str,
    now: int,
    expect_version: int | None = None,
    roles: frozenset[str] | None = None,
) -> Machine:
    """Edit what is stated of a machine; fields not named stay.

    Raises NotFound, InvalidValue, Conflict, StaleEdit.
    """
    with store.transaction(actor) as tx:
        machine = tx.machines.get(ref)
        return put_machine(tx, machine, fields, now=now, rules=rules_in(tx, roles), expect_version=expect_version)


def remove_machine(store: Store, ref: str, *, actor: str, now: int, expect_version: int | None = None) -> None:
    """Forget a machine and free its addresses. Refused while it installs."""
    with store.transaction(actor) as tx:
        machine = tx.machines.get(ref)
        if machine.state in (State.ARMED, State.INSTALLING):
            raise IllegalTransition(
                f"machine {machine.name} is {machine.state} and cannot be removed",
                f"`provisioner machine {'disarm' if machine.state is State.ARMED else 'release'} "
                f"{machine.name}` first",
            )
        if expect_version is not None:
            tx.machines.put(machine, expect_version)
        tx.machines.remove(machine.id)
        macs = ", ".join(str(mac) for mac in machine.macs)
        tx.events.add(
            Event(Kind.MACHINE_REMOVED, f"removed {machine.name} ({macs})", now, actor=actor, mac=machine.boot_mac)
        )


def rules_in(tx: Transaction, roles: frozenset[str] | None) -> Rules:
    return Rules(Inventory.build((), tx.subnets.list()), roles)


def put_machine(
    tx: Transaction,
    machine: Machine | None,
    fields: Fields,
    *,
    now: int,
    rules: Rules,
    expect_version: int | None = None,
) -> Machine:
    """Write the machine with these fields set, and the event that names what changed."""
    fields = dict(fields)
    if "macs" in fields:
        fields["mac"] = fields.pop("macs")
    for field in fields:
        if field not in FIELDS:
            raise InvalidValue("field", field, "is not known", f"known fields: {', '.join(FIELDS)}")
    before = machine
    if machine is None:
        for field in ("name", "mac"):
            if not fields.get(field):
                raise InvalidValue(field, fields.get(field, ""), "is missing", f"a machine needs its {field}")
        machine = Machine(id=uuid4(), slot=Slot(id=uuid4(), name=read.host_name(fields["name"])), state_at=now)
    after = settled(with_fields(tx, machine, fields, rules), now)
    return written(tx, before, after, now=now, expect_version=expect_version)


def written(
    tx: Transaction, before: Machine | None, after: Machine, *, now: int, expect_version: int | None = None
) -> Machine:
    """Store a machine that was made or edited, and the events that name what changed."""
    if before is not None and after == before:
        return before
    stored = tx.machines.put(after, expect_version)
    if before is None:
        message = f"listed {stored.name}: {describe(stored)}"
        tx.events.add(Event(Kind.MACHINE_ADDED, message, now, stored.id, stored.boot_mac, actor=tx.actor))
    else:
        message = f"changed {stored.name}: {', '.join(differences(before, stored)) or 'nothing visible'}"
        tx.events.add(Event(Kind.MACHINE_CHANGED, message, now, stored.id, stored.boot_mac, actor=tx.actor))
    if before is not None and before.state is not stored.state:
        record_state(tx, before, stored, now)
    return stored


def record_state(tx: Transaction, before: Machine, after: Machine, now: int) -> None:
    """The timeline's entry for a change of state, with its reason."""
    tx.events.add(
        Event(
            Kind.MACHINE_STATE,
            f"{before.state} → {after.state}: {after.state_reason}",
            now,
            after.id,
            after.boot_mac,
            phase=after.install.phase if after.install else None,
            actor=tx.actor,
            data={"from": before.state.value, "to": after.state.value},
        )
    )


def describe(machine: Machine) -> str:
    """What matters of a machine in one line."""
    parts = [f"MAC {', '.join(str(mac) for mac in machine.macs)}"]
    if machine.ip:
        parts.append(f"address {machine.ip}")
    if machine.slot.role:
        parts.append(f"role {machine.slot.role}")
    return ", ".join(parts)


def differences(before: Machine, after: Machine) -> list[str]:
    """``field old → new`` for each field that an operator can state."""
    old, new = stated(before), stated(after)
    return [f"{key} {old[key] or '(none)'} → {new[key] or '(none)'}" for key in old if old[key] != new[key]]


def stated(machine: Machine) -> dict[str, Any]:
    """The machine as its fields; what an export writes and an import reads. ``bmc`` is left to the caller."""
    macs = machine.macs
    ips = [next((a.ip for a in machine.addresses if _holder(machine, a) == mac), None) for mac in macs]
    while ips and ips[-1] is None:
        ips.pop()
    slot = machine.slot
    return {
        "name": slot.name,
        "mac": ";".join(str(mac) for mac in macs),
        "ip": ";".join(str(ip or "") for ip in ips),
        "role": slot.role,
        "rack": slot.rack,
        "unit": "" if slot.unit is None else slot.unit,
        "chassis": slot.chassis,
        "blade": "" if slot.blade is None else slot.blade,
        "cluster": slot.cluster,
        "labels": dict(machine.labels),
        "params": dict(slot.params),
        "options": show_options(slot.options),
        "vendor": machine.vendor,
        "model": machine.model,
        "serial": machine.serial,
    }


def _holder(machine: Machine, address: Address) -> Mac | None:
    return address.mac or machine.boot_mac


def with_fields(tx: Transaction, machine: Machine, fields: Fields, rules: Rules) -> Machine:
    """The machine with the named fields set; each value is read and checked on the way."""
    slot_changes: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    readers: dict[str, Callable[[Any], object]] = {
        "name": read.host_name,
        "unit": lambda v: read.whole(v, "unit"),
        "blade": lambda v: read.whole(v, "blade"),
        "params": read.params,
    }
    for field in ("name", "role", "rack", "chassis", "unit", "blade", "cluster", "params"):
        if field in fields:
            value = fields[field]
            reader = readers.get(field)
            slot_changes[field] = reader(value) if reader else read.plain(value or "", field)
    if "options" in fields:
        slot_changes["options"] = read.options(fields["options"], machine.slot.options)
    role = slot_changes.get("role")
    if role and rules.roles is not None and role not in rules.roles:
        meant = get_close_matches(role, rules.roles, 1)
        known = f"roles: {', '.join(sorted(rules.roles)) or 'none'}"
        raise InvalidValue("role", role, "does not exist", f"did you mean {meant[0]}? {known}" if meant else known)
    if {"rack", "chassis", "unit", "blade"} & slot_changes.keys():
        slot_changes["implicit"] = not any(
            slot_changes.get(f, getattr(machine.slot, f)) not in (None, "")
            for f in ("rack", "chassis", "unit", "blade")
        )
    for field in ("vendor", "model", "serial"):
        if field in fields:
            changes[field] = read.plain(fields[field] or "", field)
    if "labels" in fields:
        changes["labels"] = read.labels(fields["labels"])
    if "bmc" in fields:
        changes["bmc_id"] = _bmc(tx, fields["bmc"])
    macs = machine.macs
    if "mac" in fields:
        macs = read.macs(fields["mac"])
        if not macs:
            raise InvalidValue("mac", fields["mac"], "is empty", "a machine needs at least one MAC")
        by_mac = {interface.mac: interface for interface in machine.interfaces}
        changes["interfaces"] = tuple(
            by_mac.get(mac) or Interface(uuid4(), mac, boot=position == 0) for position, mac in enumerate(macs)
        )
    if "ip" in fields:
        changes["addresses"] = _addresses(machine, macs, read.addresses(fields["ip"]), rules)
    return replace(machine, slot=replace(machine.slot, **slot_changes), **changes)


def _addresses(
    machine: Machine, macs: tuple[Mac, ...], ips: tuple[IPAddress | None, ...], rules: Rules
) -> tuple[Address, ...]:
    if len(ips) > len(macs):
        raise InvalidValue(
            "ip", ";".join(map(str, ips)), f"names {len(ips)} addresses for {len(macs)} MACs", "one address a NIC"
        )
    kept = {address.ip: address.id for address in machine.addresses}
    made = []
    for position, ip in enumerate(ips):
        if ip is None:
            continue
        read.usable(ip, rules.inventory)
        # The boot NIC's address belongs to the slot, not to a card: a new board keeps it.
        made.append(Address(kept.get(ip) or uuid4(), ip, macs[position] if position else None))
    return tuple(made)


def _bmc(tx: Transaction, value: object) -> UUID | None:
    """The BMC at this address, listed now if it was not (its login comes by ``bmc add``)."""
    if not value:
        return None
    ip = read.address(value, "bmc")
    found = tx.bmcs.find(str(ip))
    return found.id if found else tx.bmcs.put(Bmc(uuid4(), str(ip))).id
