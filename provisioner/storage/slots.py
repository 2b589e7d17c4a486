"""The slot repository: places, with or without a machine in them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, delete, insert, select, update

from provisioner.domain.errors import InUse
from provisioner.domain.inventory import place_order
from provisioner.domain.machine import Address
from provisioner.domain.option_set import show_options
from provisioner.domain.place import Place
from provisioner.storage import tables
from provisioner.storage.claims import chunks, refuse_taken
from provisioner.storage.machine_rows import SLOT_FIELDS, address_rows, slot_from, slot_values
from provisioner.storage.session import Session, check_version, differing, found, uuid_or_none

KIND = "slot"


def load_places(connection: Connection, *, empty: bool = False, ids: Iterable[UUID] | None = None) -> list[Place]:
    """All places, or the empty ones, or those with these ids; in no order."""
    s, m, a = tables.slots, tables.machines, tables.addresses
    heads = select(s, m.c.id.label("machine_id")).outerjoin(m, m.c.slot_id == s.c.id)
    reserved = select(a).outerjoin(m, m.c.slot_id == a.c.slot_id).order_by(a.c.position)
    if empty:
        heads, reserved = heads.where(m.c.id.is_(None)), reserved.where(m.c.id.is_(None))
    if ids is None:
        return _places(connection, heads, reserved)
    return [
        place
        for some in chunks(list(ids))
        for place in _places(connection, heads.where(s.c.id.in_(some)), reserved.where(a.c.slot_id.in_(some)))
    ]


def _places(connection: Connection, heads: Select[Any], reserved: Select[Any]) -> list[Place]:
    rows = connection.execute(heads).all()
    addresses: dict[UUID, list[Address]] = defaultdict(list)
    for row in connection.execute(reserved) if rows else ():
        addresses[row.slot_id].append(Address(row.id, row.ip, row.mac))
    return [Place(slot_from(row), tuple(addresses.get(row.id, ())), row.machine_id) for row in rows]


class SlotRows:
    """Implements ``ports.Slots``; the natural name is the slot's, or its machine's id.

    What sits in a slot is the machines repository's business: ``put`` and ``remove`` are for empty ones.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def find(self, ref: str) -> Place | None:
        s, m = tables.slots, tables.machines
        slot_id = self._run(select(s.c.id).where(s.c.name == ref)).scalar_one_or_none()
        if slot_id is None and (given := uuid_or_none(ref)):
            slot_id = self._run(select(m.c.slot_id).where(m.c.id == given)).scalar_one_or_none() or given
        return self._by_id(slot_id) if slot_id else None

    def at_port(self, switch_port: str) -> Place | None:
        s = tables.slots
        slot_id = self._run(select(s.c.id).where(s.c.switch_port == switch_port)).scalar_one_or_none()
        return self._by_id(slot_id) if slot_id and switch_port else None

    def get(self, ref: str) -> Place:
        return found(self.find(ref), KIND, ref)

    def list(self) -> Sequence[Place]:
        """In the order in which people walk along racks."""
        return sorted(load_places(self._session.connection), key=lambda place: place_order(place.slot))

    def put(self, item: Place, expect_version: int | None = None) -> Place:
        """Raises InUse for a slot with a machine: what is stated of it is changed through that."""
        stored = self._by_id(item.slot.id)
        check_version(KIND, item.name, stored.slot.version if stored else None, expect_version)
        if stored is not None:
            self._refuse_occupied(stored)
        refuse_taken(self._session.connection, [item])
        fields = {
            **differing(stored.slot if stored else None, item.slot, SLOT_FIELDS),
            **differing(stored.slot if stored else None, item.slot, ("options",), lambda o: str(show_options(o))),
            **differing(stored, item, ("addresses",), lambda given: " ".join(str(at.ip) for at in given)),
        }
        version = stored.slot.version + bool(fields) if stored else item.slot.version + 1
        item = replace(item, slot=replace(item.slot, version=version), machine_id=None)
        values = {**slot_values(item.slot), "version": version}
        self._session.change(KIND, item.slot.id)
        s, a = tables.slots, tables.addresses
        if stored is None:
            self._run(insert(s), values)
        else:
            self._run(update(s).where(s.c.id == item.slot.id).values(values))
            self._run(delete(a).where(a.c.slot_id == item.slot.id))
        if item.addresses:
            self._run(insert(a), address_rows(item.slot.id, item.addresses))
        self._session.record("put", KIND, item.slot.id, item.name, fields)
        return item

    def remove(self, item_id: UUID) -> None:
        place = found(self._by_id(item_id), KIND, item_id)
        self._refuse_occupied(place)
        self._session.change(KIND, item_id)
        self._run(delete(tables.slots).where(tables.slots.c.id == item_id))
        self._session.record("remove", KIND, item_id, place.name, {})

    def _refuse_occupied(self, place: Place) -> None:
        if place.machine_id is not None:
            remedy = f"`provisioner machine remove {place.name}` first"
            raise InUse(KIND, place.name, f"machine {place.name}, which sits in it", remedy)

    def _by_id(self, slot_id: UUID) -> Place | None:
        return next(iter(load_places(self._session.connection, ids=[slot_id])), None)
