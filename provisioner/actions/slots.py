"""Slots: places listed before their machines, kept after them, and given another board."""

from dataclasses import replace
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.actions.enrol import kept, put_machine, refuse_busy, state_event
from provisioner.actions.intent import (
    SLOT_FIELDS,
    Fields,
    Rules,
    addresses_at,
    machine_with,
    refuse_unknown,
    rules_in,
    seated,
    slot_with,
)
from provisioner.domain.errors import IllegalTransition, InvalidValue, StaleEdit
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import settled
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine, Slot, State
from provisioner.domain.place import Place
from provisioner.domain.ports import Store, Transaction

BOARD_FIELDS = ("mac", "bmc", "labels", "vendor", "model", "serial")
"""What may be said of a new board."""


def add_slot(store: Store, fields: Fields, *, actor: str, now: int, roles: frozenset[str] | None = None) -> Place:
    """List a place that has no machine yet. Needs a ``name``. Raises InvalidValue, Conflict."""
    refuse_unknown(fields, SLOT_FIELDS)
    if not fields.get("name"):
        raise InvalidValue("name", fields.get("name", ""), "is missing", "a slot needs its name")
    with store.transaction(actor) as tx:
        slot = Slot(uuid4(), read.host_name(fields["name"]), implicit=False)
        place = tx.slots.put(_place_with(Place(slot), fields, rules_in(tx, roles)))
        tx.events.add(Event(Kind.SLOT_CHANGED, f"listed slot {place.name}: {describe(place)}", now, actor=actor))
        return place


def change_slot(
    store: Store,
    ref: str,
    fields: Fields,
    *,
    actor: str,
    now: int,
    expect_version: int | None = None,
    roles: frozenset[str] | None = None,
) -> Place:
    """Edit what is stated of a place, with or without a machine in it; fields not named stay.

    Raises NotFound, InvalidValue, Conflict, StaleEdit.
    """
    refuse_unknown(fields, SLOT_FIELDS)
    with store.transaction(actor) as tx:
        before = tx.slots.get(ref)
        _check_version(before, expect_version)
        rules = rules_in(tx, roles)
        if before.machine_id is not None:
            put_machine(tx, tx.machines.get(str(before.machine_id)), fields, now=now, rules=rules)
            return tx.slots.get(str(before.slot.id))
        after = _place_with(before, fields, rules)
        if after == before:
            return before
        stored = tx.slots.put(after)
        tx.events.add(Event(Kind.SLOT_CHANGED, f"changed slot {stored.name}: {describe(stored)}", now, actor=actor))
        return stored


def remove_slot(store: Store, ref: str, *, actor: str, now: int, expect_version: int | None = None) -> None:
    """Forget a place and free its addresses. Raises NotFound, StaleEdit, InUse while a machine sits in it."""
    with store.transaction(actor) as tx:
        place = tx.slots.get(ref)
        _check_version(place, expect_version)
        tx.slots.remove(place.slot.id)
        tx.events.add(Event(Kind.SLOT_CHANGED, f"removed slot {place.name}", now, actor=actor))


def replace_board(
    store: Store,
    ref: str,
    fields: Fields,
    *,
    actor: str,
    now: int,
    expect_version: int | None = None,
) -> Machine:
    """Another board in this slot, named by its MACs: it has the slot's name, role, parameters and addresses.

    The board that sat there is forgotten. A MAC of a machine that is listed already brings that machine, which
    leaves its own slot; nobody else is touched. The BMC stays with the slot unless the new board has its own.
    Raises NotFound, InvalidValue, StaleEdit, Conflict, IllegalTransition.
    """
    refuse_unknown(fields, BOARD_FIELDS)
    macs = read.macs(fields.get("mac"))
    if not macs:
        raise InvalidValue("mac", fields.get("mac", ""), "is missing", "name the new board's MACs, boot NIC first")
    with store.transaction(actor) as tx:
        place = tx.slots.get(ref)
        _check_version(place, expect_version)
        old = tx.machines.get(str(place.machine_id)) if place.machine_id else None
        if old is not None:
            refuse_busy(old, "replaced")
            if shared := next((mac for mac in macs if mac in old.macs), None):
                raise InvalidValue(
                    "mac",
                    shared,
                    f"is of the board that sits in {place.name}",
                    f"`provisioner machine set {place.name} --mac …` changes its cards",
                )
        known = _listed(tx, macs)
        rules = rules_in(tx, None)
        board = machine_with(known or Machine(uuid4(), place.slot, state_at=now), _for(known, fields), rules)
        for bmc in rules.bmcs.new.values():
            tx.bmcs.put(bmc)
        if old is not None:
            tx.machines.put(replace(old, slot=replace(old.slot, implicit=False), bmc_id=None))
            tx.machines.remove(old.id)
        board = replace(
            board,
            slot=place.slot,
            addresses=seated(place.addresses, board.macs),
            bmc_id=board.bmc_id or (old.bmc_id if old else None),
        )
        stored = tx.machines.put(settled(board, now))
        _tell(tx, old, known, stored, now)
        return stored


def describe(place: Place) -> str:
    """What matters of a place in one line."""
    slot = place.slot
    where = [
        f"{what} {value}" for what, value in (("rack", slot.rack), ("unit", slot.unit)) if value not in ("", None)
    ]
    addresses = [f"address {', '.join(str(address.ip) for address in place.addresses)}"] if place.addresses else []
    return ", ".join([*where, *addresses, *([f"role {slot.role}"] if slot.role else [])]) or "nothing stated"


def _place_with(place: Place, fields: Fields, rules: Rules) -> Place:
    addresses = place.addresses
    if "ip" in fields:
        addresses = addresses_at(addresses, read.addresses(fields["ip"]), (), rules)
    return replace(place, slot=slot_with(place.slot, fields, rules), addresses=addresses)


def _check_version(place: Place, expected: int | None) -> None:
    if expected is not None and expected != place.slot.version:
        raise StaleEdit(
            f"slot {place.name} is at version {place.slot.version}, not {expected}: somebody else changed it",
            "read it again and repeat the edit",
        )


def _listed(tx: Transaction, macs: tuple[Mac, ...]) -> Machine | None:
    """The machine that these MACs are of, if one is listed. Raises InvalidValue, IllegalTransition."""
    found = {machine.id: machine for mac in macs if (machine := tx.machines.find(str(mac)))}
    if not found:
        return None
    known, *others = found.values()
    if others:
        names = " and ".join(machine.name for machine in found.values())
        raise InvalidValue("mac", ";".join(map(str, macs)), f"is of {names}", "name the MACs of one board")
    if foreign := next((mac for mac in macs if mac not in known.macs), None):
        raise InvalidValue(
            "mac",
            foreign,
            f"is not of {known.name}, the others are",
            f"`provisioner machine set {known.name} --mac …` first, or name only its own",
        )
    if known.state not in (State.NEW, State.READY):
        verb = "restore" if known.state is State.RETIRED else "release"
        raise IllegalTransition(
            f"machine {known.name} is {known.state} and cannot change its slot",
            f"`provisioner machine {verb} {known.name}` first",
        )
    return known


def _for(known: Machine | None, fields: Fields) -> Fields:
    """A listed machine has its cards already."""
    return fields if known is None else {name: value for name, value in fields.items() if name != "mac"}


def _tell(tx: Transaction, old: Machine | None, known: Machine | None, board: Machine, now: int) -> None:
    before = ", ".join(map(str, old.macs)) if old else "no board"
    came = f", which was {known.name}" if known else ""
    message = (
        f"another board in slot {board.name}: {before} → {', '.join(map(str, board.macs))}{came}; "
        f"it has {kept(board)}"
    )
    tx.events.add(Event(Kind.MACHINE_CHANGED, message, now, board.id, board.boot_mac, actor=tx.actor))
    if old is not None:
        gone = f"removed the board {before} from slot {board.name}"
        tx.events.add(Event(Kind.MACHINE_REMOVED, gone, now, old.id, old.boot_mac, actor=tx.actor))
    if known is not None and known.state is not board.state:
        tx.events.add(state_event(known, board, now, tx.actor))
