"""Places: kept for the machine that comes, kept when it goes, and given another board."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.actions import allocate, enrol, inventory_file, slots, subnets
from provisioner.domain.errors import Conflict, IllegalTransition, InUse, InvalidValue, StaleEdit
from provisioner.domain.machine import Machine, State
from provisioner.domain.place import Place
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO: dict[str, Any] = {"actor": "cli:test", "now": NOW}
PLACE = {"name": "node-17", "ip": "10.12.1.17", "role": "worker", "rack": "r1", "unit": 17}
OLD, NEW, OTHER = "52:54:00:00:00:17", "52:54:00:00:00:99", "52:54:00:00:00:18"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = open_store(tmp_path)
    subnets.put_subnet(made, "10.12.1.0/24", {"gateway": "10.12.1.1"}, **WHO)
    yield made
    made.engine.dispose()


def place(store: SqlStore, ref: str = "node-17") -> Place:
    with store.reading() as tx:
        return tx.slots.get(ref)


def machine(store: SqlStore, ref: str) -> Machine:
    with store.reading() as tx:
        return tx.machines.get(ref)


def told(store: SqlStore) -> list[str]:
    with store.reading() as tx:
        return [event.message for event in tx.events.list(after=-1, limit=1000)]


def test_a_machine_of_its_name_comes_into_an_empty_slot(store: SqlStore) -> None:
    made = slots.add_slot(store, PLACE | {"params": {"size": 3}}, **WHO)
    assert (made.machine_id, made.slot.implicit, made.slot.version) == (None, False, 1)
    came = enrol.add_machine(store, {"name": "node-17", "mac": OLD, "role": ""}, **WHO)
    assert (came.state, str(came.ip), came.slot.role, came.slot.unit, came.slot.params) == (
        State.READY,
        "10.12.1.17",
        "worker",
        17,
        {"size": 3},
    )
    assert place(store).machine_id == came.id
    assert place(store).slot.id == made.slot.id
    assert told(store)[-2:] == [
        "listed slot node-17: rack r1, unit 17, address 10.12.1.17, role worker",
        f"listed node-17: MAC {OLD}, address 10.12.1.17, role worker",
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"role": "simple"}, "role"), ({"ip": "10.12.1.18"}, "ip"), ({"unit": 3}, "unit"), ({"rack": "r2"}, "rack")],
)
def test_a_contradiction_names_both(store: SqlStore, fields: dict[str, Any], field: str) -> None:
    slots.add_slot(store, PLACE, **WHO)
    with pytest.raises(InvalidValue, match="contradicts the empty slot node-17") as refused:
        enrol.add_machine(store, {"name": "node-17", "mac": OLD, **fields}, **WHO)
    assert refused.value.field == field
    for value in (fields[field], PLACE[field]):
        assert str(value) in str(refused.value)
    assert "provisioner slot set node-17" in refused.value.remedy
    agreed = {"role": "worker", "ip": "10.12.1.17", "unit": 17, "rack": "r1", "cluster": "core"}
    came = enrol.add_machine(store, {"name": "node-17", "mac": OLD, **agreed}, **WHO)
    assert (str(came.ip), came.slot.cluster) == ("10.12.1.17", "core")


def test_an_import_fills_empty_slots(store: SqlStore) -> None:
    slots.add_slot(store, PLACE, **WHO)
    with pytest.raises(
        inventory_file.ImportRefused, match="line 2: role 'simple' contradicts the empty slot node-17"
    ):
        rows = inventory_file.parse_csv(f"name,mac,role\nnode-17,{OLD},simple\n")
        inventory_file.import_machines(store, rows, **WHO)
    rows = inventory_file.parse_csv(f"name,mac\nnode-17,{OLD}\n")
    assert inventory_file.import_machines(store, rows, **WHO).added == ("node-17",)
    assert (str(machine(store, OLD).ip), machine(store, OLD).slot.role) == ("10.12.1.17", "worker")


def test_an_empty_slots_name_and_address_are_nobody_elses(store: SqlStore) -> None:
    slots.add_slot(store, PLACE | {"ip": "10.12.1.2"}, **WHO)
    with pytest.raises(
        Conflict, match=r"ip '10.12.1.2' already belongs to slot node-17.*provisioner slot show node-17"
    ):
        enrol.add_machine(store, {"name": "node-02", "mac": OTHER, "ip": "10.12.1.2"}, **WHO)
    enrol.add_machine(store, {"name": "node-02", "mac": OTHER}, **WHO)
    with pytest.raises(Conflict, match="name 'node-17' already belongs to slot node-17"):
        enrol.change_machine(store, "node-02", {"name": "node-17"}, **WHO)
    with pytest.raises(Conflict, match="name 'node-02' already belongs to machine node-02"):
        slots.add_slot(store, {"name": "node-02"}, **WHO)
    with pytest.raises(Conflict, match=r"10.12.1.0/24' is used by slot node-17 \(10.12.1.2\)"):
        subnets.remove_subnet(store, "10.12.1.0/24", **WHO)
    planned = allocate.plan(store, allocate.read_rule({"prefix": "10.12.1.0/24"}))
    assert [row.ip for row in planned.rows] == ["10.12.1.3"]
    named = allocate.plan(store, allocate.read_rule({"prefix": "10.12.1.0/24", "name": "node-{index:02}"}))
    assert not named.conflicts
    taken = allocate.plan(store, allocate.read_rule({"prefix": "10.12.1.0/24", "name": "node-17"}))
    assert "node-17 also goes to the empty slot node-17" in taken.conflicts[0].conflict
    computed = allocate.plan(
        store, allocate.read_rule({"prefix": "10.12.1.0/24", "expression": "10.12.1.(index+1)"})
    )
    assert "10.12.1.2 also goes to the empty slot node-17" in computed.conflicts[0].conflict


def test_a_listed_slot_stays_when_its_machine_goes_and_another_ones_goes_too(store: SqlStore) -> None:
    slots.add_slot(store, PLACE, **WHO)
    for name, mac, ip in (("node-17", OLD, ""), ("node-18", OTHER, "10.12.1.18")):
        enrol.add_machine(store, {"name": name, "mac": mac, "ip": ip}, **WHO)
    with pytest.raises(
        InUse, match=r"slot 'node-17' is used by machine node-17.*provisioner machine remove node-17"
    ):
        slots.remove_slot(store, "node-17", **WHO)
    enrol.remove_machine(store, "node-17", **WHO)
    enrol.remove_machine(store, "node-18", **WHO)
    assert told(store)[-2:] == [
        f"removed node-17 ({OLD}); its slot stays, with 10.12.1.17 and role worker",
        f"removed node-18 ({OTHER})",
    ]
    with store.reading() as tx:
        assert [(it.name, it.machine_id, str(it.addresses[0].ip)) for it in tx.slots.list()] == [
            ("node-17", None, "10.12.1.17")
        ]
    slots.remove_slot(store, "node-17", **WHO)
    enrol.add_machine(store, {"name": "node-01", "mac": OLD, "ip": "10.12.1.17"}, **WHO)


def test_a_slot_can_be_kept_and_taken_by_the_next_board(store: SqlStore) -> None:
    enrol.add_machine(store, {"name": "n", "mac": f"{OLD};{OTHER}", "ip": "10.12.1.17;10.12.1.18"}, **WHO)
    enrol.remove_machine(store, "n", keep_slot=True, **WHO)
    came = enrol.add_machine(store, {"name": "n", "mac": f"{NEW};52:54:00:00:00:9a"}, **WHO)
    assert [str(came.address_for(mac)) for mac in came.macs] == ["10.12.1.17", "10.12.1.18"]


def test_another_board_has_the_slots_address_name_and_role(store: SqlStore) -> None:
    """The board of slot 17 is replaced: it keeps 10.12.1.17, and nobody else is touched."""
    rack = {}
    for unit in range(16, 20):
        fields = {
            "name": f"node-{unit}",
            "mac": f"52:54:00:00:00:{unit}",
            "ip": f"10.12.1.{unit}",
            "role": "worker",
        }
        rack[unit] = enrol.add_machine(store, fields | {"rack": "r1", "unit": unit, "bmc": f"10.9.0.{unit}"}, **WHO)
    board = slots.replace_board(store, "node-17", {"mac": NEW, "serial": "S2"}, **WHO)
    assert board.id != rack[17].id
    assert (board.name, str(board.address_for(board.macs[0])), board.slot.role) == (
        "node-17",
        "10.12.1.17",
        "worker",
    )
    assert (board.state, board.serial, board.bmc_id) == (State.READY, "S2", rack[17].bmc_id)
    with store.reading() as tx:
        assert tx.machines.find(OLD) is None
        for unit in (16, 18, 19):
            assert tx.machines.get(f"node-{unit}") == rack[unit]
    assert f"another board in slot node-17: {OLD} → {NEW}; it has 10.12.1.17 and role worker" in told(store)


def test_a_listed_machine_moves_into_the_slot_whose_board_it_replaces(store: SqlStore) -> None:
    enrol.add_machine(store, PLACE | {"mac": OLD}, **WHO)
    spare = enrol.add_machine(store, {"name": "spare", "mac": NEW, "vendor": "V", "ip": "10.12.1.200"}, **WHO)
    before = place(store).slot.version
    board = slots.replace_board(store, "node-17", {"mac": NEW}, **WHO)
    assert (board.id, board.name, str(board.ip), board.vendor) == (spare.id, "node-17", "10.12.1.17", "V")
    assert place(store).slot.version > before
    with store.reading() as tx:
        assert [it.name for it in tx.slots.list()] == ["node-17"]
        assert [it.name for it in tx.machines.list()] == ["node-17"]


def test_a_board_that_cannot_be_swapped_is_refused(store: SqlStore) -> None:
    enrol.add_machine(store, PLACE | {"mac": OLD}, **WHO)
    enrol.add_machine(store, {"name": "spare", "mac": OTHER}, **WHO)
    with pytest.raises(InvalidValue, match=f"mac '{OLD}' is of the board that sits in node-17"):
        slots.replace_board(store, "node-17", {"mac": OLD}, **WHO)
    with pytest.raises(InvalidValue, match=f"mac '{NEW}' is not of spare, the others are"):
        slots.replace_board(store, "node-17", {"mac": [OTHER, NEW]}, **WHO)
    with pytest.raises(StaleEdit, match="slot node-17 is at version 1, not 7"):
        slots.replace_board(store, "node-17", {"mac": NEW}, expect_version=7, **WHO)
    with store.transaction("test") as tx:
        busy = tx.machines.get("spare")
        tx.machines.put_progress(Machine(**{**_fields(busy), "state": State.ACTIVE}))
    with pytest.raises(IllegalTransition, match=r"spare is active.*provisioner machine release spare"):
        slots.replace_board(store, "node-17", {"mac": OTHER}, **WHO)
    assert machine(store, "node-17").macs == machine(store, OLD).macs


def _fields(machine: Machine) -> dict[str, Any]:
    return {name: getattr(machine, name) for name in Machine.__slots__}


def test_new_cards_keep_the_addresses_in_their_positions(store: SqlStore) -> None:
    enrol.add_machine(store, {"name": "n", "mac": f"{OLD};{OTHER}", "ip": "10.12.1.17;10.12.1.18"}, **WHO)
    changed = enrol.change_machine(store, "n", {"mac": f"{NEW};52:54:00:00:00:9a"}, **WHO)
    assert [str(changed.address_for(mac)) for mac in changed.macs] == ["10.12.1.17", "10.12.1.18"]


def test_an_occupied_slot_is_edited_with_its_machine(store: SqlStore) -> None:
    enrol.add_machine(store, PLACE | {"mac": OLD, "role": ""}, **WHO)
    version = place(store).slot.version
    changed = slots.change_slot(store, "node-17", {"role": "simple"}, expect_version=version, **WHO)
    assert (changed.slot.role, machine(store, "node-17").state) == ("simple", State.READY)
    with pytest.raises(StaleEdit, match="slot node-17 is at version 2, not 1"):
        slots.change_slot(store, "node-17", {"role": ""}, expect_version=version, **WHO)
    with pytest.raises(InvalidValue, match="field 'mac' is not known"):
        slots.change_slot(store, "node-17", {"mac": NEW}, **WHO)
