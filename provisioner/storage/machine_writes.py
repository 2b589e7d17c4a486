"""Machines into the database: however many there are, each table is written in one statement a kind of change."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from provisioner.domain.claims import bmc_taken, shared_bmcs
from provisioner.domain.machine import Install, Machine
from provisioner.domain.option_set import show_options
from provisioner.storage import tables
from provisioner.storage.claims import chunks, refuse_taken
from provisioner.storage.machine_rows import (
    HARDWARE_FIELDS,
    SLOT_FIELDS,
    address_rows,
    hardware_values,
    install_values,
    interface_rows,
    load_machines,
    slot_values,
)
from provisioner.storage.session import Session, differing, found

KIND = "machine"


def write_machines(
    session: Session, items: Sequence[Machine], known: Mapping[UUID, Machine] | None = None
) -> list[Machine]:
    """Insert or replace by id; the machines as stored. Nothing is written if a value is somebody else's.

    A machine may move to another slot, if that is empty. The slot it leaves goes, unless it is one that stays.
    An install's compiled files are stored when the install is new and never change after.
    """
    session.touch()
    run = session.connection.execute
    s, m, i, a = tables.slots, tables.machines, tables.interfaces, tables.addresses
    ids = [item.id for item in items]
    if known is None:
        known = {machine.id: machine for machine in load_machines(session.connection, ids, files="none")}
    stored = {machine_id: known[machine_id] for machine_id in ids if machine_id in known}
    moved = {item.slot.id for item in items if item.id not in stored or stored[item.id].slot.id != item.slot.id}
    there = _slot_versions(session.connection, moved)
    left = [stored[item.id].slot for item in items if item.id in stored and item.slot.id in moved]
    gone = frozenset(slot.id for slot in left if slot.implicit)
    refuse_taken(session.connection, items, gone)
    _refuse_unknown_bmcs(session.connection, items)
    _refuse_shared_bmcs(session.connection, [(stored.get(item.id), item) for item in items])
    items = [_counted(stored.get(item.id), item, there.get(item.slot.id)) for item in items]

    for item in items:
        session.change(KIND, item.id)
    for slot_id in (*there, *(slot.id for slot in left)):
        session.change("slot", slot_id)
    renamed = [slot.id for slot in left if slot.id in gone]
    renamed += [item.slot.id for item in items if item.id in stored and stored[item.id].slot.name != item.slot.name]
    # Each name is unique at every moment: those that change make room before any is taken.
    _update(run, s, [{"key": slot_id, "name": f"left {slot_id}"} for slot_id in renamed])
    emptied = [slot for slot in left if slot.id not in gone]
    _update(run, s, [{"key": slot.id, "version": slot.version + 1} for slot in emptied])
    readdressed = [item for item in items if _addresses_move(stored.get(item.id), item)]
    _delete(run, a, "slot_id", [*gone, *(item.slot.id for item in readdressed)])
    _delete(run, i, "machine_id", [it.id for it in items if it.id in stored and _cards_move(stored[it.id], it)])

    slots = [{**slot_values(item.slot), "version": item.slot.version} for item in items]
    _insert(run, s, [row for row in slots if row["id"] in moved and row["id"] not in there])
    _update(run, s, [{**row, "key": row["id"]} for row in slots if row["id"] not in moved or row["id"] in there])
    hardware = [{**hardware_values(item), "version": item.version} for item in items]
    _insert(run, m, [row for row in hardware if row["id"] not in stored])
    _update(run, m, [{**row, "key": row["id"]} for row in hardware if row["id"] in stored])
    _insert(run, i, [row for it in items if _cards_move(stored.get(it.id), it) for row in interface_rows(it)])
    _insert(run, a, [row for it in readdressed for row in address_rows(it.slot.id, it.addresses)])
    _delete(run, s, "id", list(gone))
    for item in items:
        if item.install is not None:
            _put_install(run, item.id, item.install)
        session.record("put", KIND, item.id, item.name, _differences(stored.get(item.id), item))
    return items


def _slot_versions(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, int]:
    """Which of these slots are there already."""
    s = tables.slots
    query = select(s.c.id, s.c.version)
    return {
        row.id: row.version
        for some in chunks(list(ids))
        for row in connection.execute(query.where(s.c.id.in_(some)))
    }


def _refuse_unknown_bmcs(connection: Connection, items: Sequence[Machine]) -> None:
    wanted = {item.bmc_id for item in items if item.bmc_id is not None}
    b = tables.bmcs
    for some in chunks(list(wanted)):
        wanted -= set(connection.execute(select(b.c.id).where(b.c.id.in_(some))).scalars())
    for unknown in wanted:
        found(None, "bmc", unknown)


def _refuse_shared_bmcs(connection: Connection, changes: Sequence[tuple[Machine | None, Machine]]) -> None:
    """Raises Conflict for a BMC that another machine has."""
    m, s, b = tables.machines, tables.slots, tables.bmcs
    ours = {after.id for _, after in changes}
    wanted = {after.bmc_id for before, after in changes if before is None or before.bmc_id != after.bmc_id} - {None}
    named: dict[UUID, str] = {}
    held: dict[UUID, str] = {}
    for some in chunks(list(wanted)):
        asked = select(b.c.id, b.c.address).where(b.c.id.in_(some))
        named.update({row.id: row.address for row in connection.execute(asked)})
        there = select(m.c.bmc_id, m.c.id, s.c.name).join(s).where(m.c.bmc_id.in_(some))
        held.update({row.bmc_id: row.name for row in connection.execute(there) if row.id not in ours})
    for machine, holder in shared_bmcs(changes, held):
        assert machine.bmc_id is not None  # noqa: S101 - it is shared
        raise bmc_taken(named[machine.bmc_id], holder)


def _counted(stored: Machine | None, item: Machine, slot_version: int | None) -> Machine:
    """With the versions after this edit: counted up when intent differs from what is stored."""
    if stored is not None and stored.slot.id == item.slot.id:
        slot_version = stored.slot.version
        same_slot = replace(item.slot, version=slot_version) == stored.slot and stored.addresses == item.addresses
    else:
        same_slot = False
    slot = replace(item.slot, version=(slot_version or 0) + (not same_slot))
    if stored is None:
        # A slot's machine is not confused with the one before it.
        return replace(item, slot=slot, version=1)
    same = same_slot and _hardware_stated(stored) == _hardware_stated(item)
    return replace(item, slot=slot, version=stored.version + (not same))


def _hardware_stated(machine: Machine) -> tuple[object, ...]:
    """What an operator may state of a board."""
    board = (machine.vendor, machine.model, machine.serial)
    return (*board, machine.interfaces, dict(machine.labels), machine.bmc_id)


def _cards_move(stored: Machine | None, item: Machine) -> bool:
    return stored is None or stored.interfaces != item.interfaces


def _addresses_move(stored: Machine | None, item: Machine) -> bool:
    return stored is None or stored.addresses != item.addresses or stored.slot.id != item.slot.id


def _insert(run: Any, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        run(insert(table), rows)


def _update(run: Any, table: Table, rows: list[dict[str, Any]]) -> None:
    """Rows have the id as ``key``."""
    if rows:
        run(update(table).where(table.c.id == bindparam("key")), rows)


def _delete(run: Any, table: Table, column: str, ids: Sequence[UUID]) -> None:
    if ids:
        run(delete(table).where(table.c[column] == bindparam("key")), [{"key": each} for each in ids])


def _put_install(run: Any, machine_id: UUID, install: Install) -> None:
    i = tables.installs
    values = install_values(machine_id, install)
    if run(update(i).where(i.c.id == install.id).values(values)).rowcount:
        return
    run(insert(i), values)
    rows = [{"install_id": install.id, "name": name, "content": text} for name, text in install.files.items()]
    _insert(run, tables.install_files, rows)


def _differences(stored: Machine | None, item: Machine) -> Mapping[str, Any]:
    fields = {
        **differing(stored.slot if stored else None, item.slot, SLOT_FIELDS),
        **differing(stored.slot if stored else None, item.slot, ("options",), lambda o: str(show_options(o))),
        **differing(stored, item, (*HARDWARE_FIELDS, "state", "bmc_id", "labels")),
        **differing(stored, item, ("macs",), lambda macs: " ".join(map(str, macs))),
        **differing(stored, item, ("addresses",), lambda given: " ".join(str(at.ip) for at in given)),
    }
    if item.install and (stored is None or stored.install is None or stored.install.id != item.install.id):
        fields["install"] = [None, str(item.install.id)]
    return fields
