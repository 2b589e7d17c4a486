"""Machines in and out of the inventory: bad values named, nothing half-written, every change with its actor."""

from pathlib import Path

import pytest

from provisioner.actions import enrol, subnets
from provisioner.domain.errors import Conflict, IllegalTransition, InvalidValue, StaleEdit
from provisioner.domain.events import Kind
from provisioner.domain.machine import State
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

LISTED = {"name": "node-01", "mac": "52:54:00:12:34:56", "ip": "10.12.1.17", "role": "simple"}


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    opened = open_store(tmp_path)
    subnets.put_subnet(opened, "10.12.1.0/24", {"gateway": "10.12.1.1"}, actor="cli:test", now=NOW)
    return opened


def test_a_listed_machine_with_role_and_address_is_ready(store: SqlStore) -> None:
    made = enrol.add_machine(store, LISTED, actor="cli:test", now=NOW)
    assert (made.state, str(made.ip), made.slot.implicit) == (State.READY, "10.12.1.17", True)
    with store.transaction("cli:test") as tx:
        event = tx.events.list(machine_id=made.id)[0]
    assert (event.kind, event.actor) == (Kind.MACHINE_ADDED, "cli:test")
    assert event.message == "listed node-01: MAC 52:54:00:12:34:56, address 10.12.1.17, role simple"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "Node_1"}, "name 'Node_1' is not a host name; did you mean node-1? use 1 to 63"),
        ({"mac": "52:54:00:12:34"}, "mac '52:54:00:12:34' is not a MAC address; write six pairs"),
        ({"mac": ""}, "mac '' is missing; a machine needs its mac"),
        ({"ip": "10.12.1"}, "ip '10.12.1' is not an IP address; write it like"),
        ({"ip": "10.12.1.0"}, "ip '10.12.1.0' is the network or broadcast address of 10.12.1.0/24; choose"),
        ({"ip": "10.12.1.1"}, "ip '10.12.1.1' is the gateway of 10.12.1.0/24; choose another"),
        ({"ip": "10.12.1.17;10.12.1.18"}, "names 2 addresses for 1 MACs; one address a NIC"),
        ({"role": "simpel"}, "role 'simpel' does not exist; did you mean simple? roles: simple, worker"),
        ({"unit": "four"}, "unit 'four' is not a whole number in range; give 0 to"),
        ({"labels": "site"}, "labels 'site' has no '='; write labels like"),
        ({"rack": "r1\n;reboot"}, "has characters that are not allowed here; use letters"),
        ({"params": "{"}, "params '{' is not JSON; write it like"),
        ({"colour": "red"}, "field 'colour' is not known; known fields: name, mac, ip"),
    ],
)
def test_a_bad_value_is_refused_with_field_value_and_remedy(
    store: SqlStore, fields: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        enrol.add_machine(store, LISTED | fields, actor="cli:test", now=NOW, roles=frozenset({"simple", "worker"}))
    assert sentence in str(refused.value)
    assert not store.inventory().machines


@pytest.mark.rule("fault-09")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "node-02", "ip": "10.12.1.18"}, "mac"),
        ({"name": "node-02", "mac": "52:54:00:12:34:57"}, "ip"),
        ({"mac": "52:54:00:12:34:57", "ip": "10.12.1.18"}, "name"),
    ],
)
def test_what_another_machine_holds_is_refused_and_the_holder_named(
    store: SqlStore, fields: dict[str, str], field: str
) -> None:
    enrol.add_machine(store, LISTED, actor="cli:test", now=NOW)
    with pytest.raises(Conflict) as refused:
        enrol.add_machine(store, LISTED | fields, actor="cli:test", now=NOW)
    assert refused.value.field == field
    assert "node-01" in str(refused.value)
    assert len(store.inventory().machines) == 1


def test_a_new_board_keeps_the_slots_address(store: SqlStore) -> None:
    enrol.add_machine(store, LISTED, actor="cli:test", now=NOW)
    changed = enrol.change_machine(store, "node-01", {"mac": "52:54:00:99:99:99"}, actor="cli:test", now=NOW)
    assert str(changed.ip) == "10.12.1.17"


def test_taking_the_role_away_makes_it_new_and_the_timeline_says_so(store: SqlStore) -> None:
    made = enrol.add_machine(store, LISTED, actor="cli:test", now=NOW)
    changed = enrol.change_machine(store, "node-01", {"role": ""}, actor="user:ops", now=NOW + 1)
    assert (changed.state, changed.state_reason) == (State.NEW, "lacks a role")
    with store.transaction("cli:test") as tx:
        messages = [event.message for event in tx.events.list(machine_id=made.id)]
    assert "changed node-01: role simple → (none)" in messages
    assert "ready → new: lacks a role" in messages


def test_an_edit_of_what_somebody_else_changed_is_refused(store: SqlStore) -> None:
    made = enrol.add_machine(store, LISTED, actor="cli:test", now=NOW)
    enrol.change_machine(store, "node-01", {"rack": "r1"}, actor="user:a", now=NOW, expect_version=made.version)
    with pytest.raises(StaleEdit):
        enrol.change_machine(store, "node-01", {"rack": "r2"}, actor="user:b", now=NOW, expect_version=made.version)
    found = store.inventory().find("node-01")
    assert found is not None
    assert found.slot.rack == "r1"


def test_an_installing_machine_cannot_be_removed(store: SqlStore) -> None:
    made = enrol.add_machine(store, LISTED, actor="cli:test", now=NOW)
    from dataclasses import replace

    with store.transaction("cli:test") as tx:
        tx.machines.put(replace(made, state=State.INSTALLING))
    with pytest.raises(IllegalTransition, match="`provisioner machine release node-01` first"):
        enrol.remove_machine(store, "node-01", actor="cli:test", now=NOW)


def test_another_boot_nic_has_the_address_from_then_on(store: SqlStore) -> None:
    first, second = "52:54:00:12:34:56", "52:54:00:12:34:57"
    enrol.add_machine(store, {**LISTED, "mac": f"{first};{second}"}, actor="cli:test", now=NOW)
    changed = enrol.change_machine(store, "node-01", {"mac": f"{second};{first}"}, actor="cli:test", now=NOW)
    assert (str(changed.boot_mac), str(changed.ip)) == (second, "10.12.1.17")
    assert str(changed.address_for(changed.macs[0])) == "10.12.1.17"
    assert changed.address_for(changed.macs[1]) is None
