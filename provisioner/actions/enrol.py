"""Machines into, within and out of the inventory."""

from dataclasses import replace
from typing import Any

from provisioner.actions.intent import Fields, Rules, planned, rules_in
from provisioner.domain.errors import IllegalTransition
from provisioner.domain.events import Event, Kind
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Machine, State
from provisioner.domain.option_set import show_options
from provisioner.domain.ports import Store, Transaction


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


def remove_machine(
    store: Store, ref: str, *, actor: str, now: int, expect_version: int | None = None, keep_slot: bool = False
) -> None:
    """Forget a machine. Its slot goes too and frees its addresses, unless it was listed by itself or ``keep_slot``.

    Refused while it installs.
    """
    with store.transaction(actor) as tx:
        machine = tx.machines.get(ref)
        refuse_busy(machine, "removed")
        if expect_version is not None:
            tx.machines.put(machine, expect_version)
        if keep_slot and machine.slot.implicit:
            tx.machines.put(replace(machine, slot=replace(machine.slot, implicit=False)))
        tx.machines.remove(machine.id)
        macs = ", ".join(str(mac) for mac in machine.macs)
        stays = "" if machine.slot.implicit and not keep_slot else f"; its slot stays, with {kept(machine)}"
        tx.events.add(
            Event(
                Kind.MACHINE_REMOVED,
                f"removed {machine.name} ({macs}){stays}",
                now,
                actor=actor,
                mac=machine.boot_mac,
            )
        )


def refuse_busy(machine: Machine, what: str) -> None:
    """Raises IllegalTransition while an install is ahead or under way."""
    if machine.state in (State.ARMED, State.INSTALLING):
        verb = "disarm" if machine.state is State.ARMED else "release"
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state} and cannot be {what}",
            f"`provisioner machine {verb} {machine.name}` first",
        )


def kept(machine: Machine) -> str:
    """What a slot keeps for the next board, in words."""
    addresses = ", ".join(str(address.ip) for address in machine.addresses)
    return f"{addresses or 'no address'} and {f'role {machine.slot.role}' if machine.slot.role else 'no role'}"


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
    after = planned(machine, fields, now=now, rules=rules)
    for bmc in rules.bmcs.new.values():
        tx.bmcs.put(bmc)
    return written(tx, machine, after, now=now, expect_version=expect_version)


def written(
    tx: Transaction, before: Machine | None, after: Machine, *, now: int, expect_version: int | None = None
) -> Machine:
    """Store a machine that was made or edited, and the events that name what changed."""
    if before is not None and after == before:
        return before
    stored = tx.machines.put(after, expect_version)
    tx.events.add(*happened(before, stored, now, tx.actor))
    return stored


def happened(before: Machine | None, after: Machine, now: int, actor: str) -> list[Event]:
    """The timeline's entries for a machine that was made or edited."""
    if before is None:
        message = f"listed {after.name}: {describe(after)}"
        return [Event(Kind.MACHINE_ADDED, message, now, after.id, after.boot_mac, actor=actor)]
    message = f"changed {after.name}: {', '.join(differences(before, after)) or 'nothing visible'}"
    changed = Event(Kind.MACHINE_CHANGED, message, now, after.id, after.boot_mac, actor=actor)
    return [changed] if before.state is after.state else [changed, state_event(before, after, now, actor)]


def record_state(tx: Transaction, before: Machine, after: Machine, now: int) -> None:
    """The timeline's entry for a change of state, with its reason."""
    tx.events.add(state_event(before, after, now, tx.actor))


def state_event(before: Machine, after: Machine, now: int, actor: str) -> Event:
    return Event(
        Kind.MACHINE_STATE,
        f"{before.state} → {after.state}: {after.state_reason}",
        now,
        after.id,
        after.boot_mac,
        phase=after.install.phase if after.install else None,
        actor=actor,
        data={"from": before.state.value, "to": after.state.value},
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
        "switch_port": slot.switch_port,
        "menu": slot.menu,
        "vendor": machine.vendor,
        "model": machine.model,
        "serial": machine.serial,
    }


def _holder(machine: Machine, address: Address) -> Mac | None:
    return address.mac or machine.boot_mac
