"""Unique values are looked up before they are written, so that a refusal can name who has them."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from provisioner.domain.claims import Claims, values
from provisioner.domain.machine import Machine
from provisioner.domain.place import Place
from provisioner.storage import tables

IDS_A_QUERY = 500
"""SQLite takes no more than some thousand parameters in one statement."""

_s, _m = tables.slots, tables.machines
_HOLDERS = {
    field: select(column, _s.c.name, _s.c.id, _m.c.id)
    .select_from(source)
    .where(column.in_(bindparam("wanted", expanding=True)))
    for field, column, source in (
        ("name", _s.c.name, _s.outerjoin(_m)),
        ("switch_port", _s.c.switch_port, _s.outerjoin(_m)),
        ("slot", _s.c.id, _s.join(_m)),
        ("mac", tables.interfaces.c.mac, tables.interfaces.join(_m).join(_s)),
        ("ip", tables.addresses.c.ip, tables.addresses.join(_s).outerjoin(_m)),
    )
}
"""Who has a unique value; built once."""


def chunks(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many as one statement may carry, at a time."""
    for start in range(0, len(ids), IDS_A_QUERY):
        yield ids[start : start + IDS_A_QUERY]


def refuse_taken(
    connection: Connection, items: Sequence[Machine | Place], leaving: frozenset[UUID] = frozenset()
) -> None:
    """Raises Conflict for a value that somebody else has, InvalidValue for one that is named twice.

    What the items had until now is free, so names and addresses may go round among them; a slot must be empty
    already. ``leaving``: slots that go with this change.
    """
    machines = {item.id for item in items if isinstance(item, Machine)}
    seats = {(item.slot.id, item.id) for item in items if isinstance(item, Machine)}
    slots = {item.slot.id for item in items} | leaving
    claims = Claims()
    for field, query in _HOLDERS.items():
        for wanted in chunks(values(items, field)):
            for value, name, slot_id, machine_id in connection.execute(query, {"wanted": list(wanted)}):
                own = {
                    "name": slot_id in slots,
                    "switch_port": slot_id in slots,
                    "ip": slot_id in slots,
                    "mac": machine_id in machines,
                    "slot": (slot_id, machine_id) in seats,
                }
                if not own[field]:
                    claims.hold(field, value, "slot" if machine_id is None else "machine", name)
    for item in items:
        claims.take(item)
