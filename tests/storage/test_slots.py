"""Places on both databases: with and without machines, moved between, and in every process's snapshot."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.domain.errors import Conflict, InUse, InvalidValue, NotFound, StaleEdit
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Address, Machine, Slot
from provisioner.domain.place import Place
from provisioner.storage.snapshot_file import read_snapshot, write_snapshot
from provisioner.storage.store import SqlStore
from tests.domain.samples import machine


def place(name: str = "node-17", ip: str = "10.12.1.117") -> Place:
    slot = Slot(
        uuid4(), name, "r1", unit=17, role="worker", params={"size": 3}, implicit=False, options={26: b"\x23("}
    )
    return Place(slot, (Address(uuid4(), ip_address(ip)),))


@pytest.fixture
def followed(store: SqlStore, tmp_path: Path) -> Iterator[list[Inventory]]:
    """A snapshot that is brought up to date at the end, and must then be what the database and the file hold."""
    known = [store.inventory()]
    yield known
    after = store.caught_up(known[0])
    assert after == store.inventory()
    write_snapshot(tmp_path / "s.jsonl", after)
    assert read_snapshot(tmp_path / "s.jsonl") == after


def test_empty_places_are_kept_counted_and_unique(store: SqlStore, followed: list[Inventory]) -> None:
    first = place()
    with store.transaction("cli:test") as tx:
        put = tx.slots.put(first)
        assert put == replace(first, slot=replace(first.slot, version=1))
        assert tx.slots.put(put).slot.version == 1
        assert tx.slots.put(replace(put, addresses=()), expect_version=1).slot.version == 2
        assert tx.slots.put(replace(put, slot=replace(put.slot, role=""))).slot.version == 3
        assert tx.slots.get("node-17") == tx.slots.get(str(first.slot.id))
        tx.machines.put(machine())
        assert [it.name for it in tx.slots.list()] == ["node-01", "node-17"]
        with pytest.raises(StaleEdit, match="slot node-17 is at version 3, not 1"):
            tx.slots.put(put, expect_version=1)
        for wrong, field in (
            (place("node-17", "10.12.1.9"), "name"),
            (place("free"), "ip"),
            (place("node-01"), "name"),
        ):
            with pytest.raises(Conflict) as refused:
                tx.slots.put(wrong)
            assert refused.value.field == field
        with pytest.raises(InvalidValue, match=r"ip '10.12.1.117' is given twice to slot free"):
            tx.slots.put(replace(place("free"), addresses=put.addresses * 2))
        with pytest.raises(NotFound, match="no slot 'nowhere'"):
            tx.slots.get("nowhere")


def test_a_machine_takes_and_leaves_a_place(store: SqlStore, followed: list[Inventory]) -> None:
    with store.transaction("cli:test") as tx:
        empty = tx.slots.put(place())
    assert store.caught_up(followed[0]).reserved(ip_address("10.12.1.117")) == "slot node-17"
    with store.transaction("cli:test") as tx:
        sits = tx.machines.put(replace(machine(), slot=empty.slot, addresses=empty.addresses))
        assert tx.slots.get(str(sits.id)).machine_id == sits.id
        with pytest.raises(InUse, match="provisioner machine remove node-17"):
            tx.slots.remove(empty.slot.id)
        with pytest.raises(InUse):
            tx.slots.put(empty)
    seen = store.caught_up(followed[0])
    assert (seen.places, seen.reserved(ip_address("10.12.1.117"))) == ({}, "machine node-17")
    with store.transaction("cli:test") as tx:
        tx.machines.remove(sits.id)
        left = tx.slots.get("node-17")
        assert (left.machine_id, left.addresses) == (None, empty.addresses)
        assert left.slot.version > sits.slot.version
    assert store.caught_up(seen).held == {ip_address("10.12.1.117"): left}
    with store.transaction("cli:test") as tx:
        tx.slots.remove(empty.slot.id)
        assert tx.slots.find("node-17") is None


def test_a_machine_that_moves_leaves_its_place_as_that_is_meant(store: SqlStore, followed: list[Inventory]) -> None:
    """A place that was made with it goes, one that stays keeps name and addresses."""
    with store.transaction("cli:test") as tx:
        first, second = tx.slots.put(place()), tx.slots.put(place("node-18", "10.12.1.118"))
        listed = tx.machines.put(machine())
        moved = tx.machines.put(replace(listed, slot=first.slot, addresses=first.addresses))
        assert [it.name for it in tx.slots.list()] == ["node-17", "node-18"]
        tx.machines.put(replace(moved, slot=second.slot, addresses=second.addresses))
        assert [(it.name, it.machine_id) for it in tx.slots.list()] == [("node-17", None), ("node-18", listed.id)]
        assert tx.slots.get("node-17").addresses == first.addresses
        with pytest.raises(Conflict, match=r"slot .* already belongs to machine node-18"):
            tx.machines.put(replace(machine("node-02", "52:54:00:00:00:02", ""), slot=second.slot))


def test_names_and_addresses_go_round_among_many(store: SqlStore, followed: list[Inventory]) -> None:
    rack = [machine(f"n{n}", f"52:54:00:00:00:{n:02}", f"10.12.1.{n}") for n in range(1, 6)]
    with store.transaction("cli:test") as tx:
        stored = tx.machines.put_many(rack)
        assert [it.version for it in stored] == [1] * 5
    turned = [_as(it, rack[number - 1]) for number, it in enumerate(stored)]
    with store.transaction("cli:test") as tx:
        tx.machines.put_many(turned)
    with store.reading() as tx:
        assert [(it.name, str(it.ip), it.version) for it in tx.machines.list()] == [
            (f"n{n}", f"10.12.1.{n}", 2) for n in range(1, 6)
        ]
        assert tx.machines.get("n5").id == rack[0].id
    clash = [*turned[:2], _as(turned[2], turned[3])]
    with pytest.raises(Conflict, match="name 'n3' already belongs to machine n3"), store.transaction("x") as tx:
        tx.machines.put_many(clash)
    twice = [replace(turned[0], labels={"a": "b"}), _as(turned[1], turned[0])]
    with pytest.raises(Conflict, match="'n5' already belongs to machine n5"), store.transaction("x") as tx:
        tx.machines.put_many(twice)
    with store.reading() as tx:
        assert tx.machines.get("n5").labels == {}


def _as(item: Machine, other: Machine) -> Machine:
    """With the other's name and addresses."""
    return replace(item, slot=replace(item.slot, name=other.name), addresses=other.addresses)
