"""Two hosts never have one address: no machine the appliance's or a gateway's, nobody what is being installed."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.actions import allocate, arm, enrol, slots, subnets
from provisioner.actions.inventory_file import ImportRefused, export_rows, import_machines, parse_csv, to_csv
from provisioner.domain import lifecycle
from provisioner.domain.errors import IllegalTransition, InvalidValue, Refused
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store
from tests.web.appliance import Compiler

WHO = {"actor": "test", "now": NOW}
NET, OURS = "10.12.1.0/24", IPv4Address("10.12.1.2")
KEY = b"k" * 32


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path, ours=(OURS,))
    subnets.put_subnet(made, NET, {"gateway": "10.12.1.1"}, **WHO)
    for n in (1, 2):
        fields = {"name": f"n{n}", "mac": f"52:54:00:00:00:0{n}", "ip": f"10.12.1.2{n}", "role": "simple"}
        enrol.add_machine(made, fields, **WHO)
    return made


def test_the_appliances_own_address_is_nobody_elses(store: SqlStore) -> None:
    said = r"ip '10\.12\.1\.2' is the appliance's own; choose another address"
    with pytest.raises(InvalidValue, match=said):
        enrol.change_machine(store, "n1", {"ip": str(OURS)}, **WHO)
    with pytest.raises(ImportRefused, match=f"line 2: {said}"):
        import_machines(store, parse_csv(f"name,mac,ip\nn3,52:54:00:00:00:03,{OURS}\n"), **WHO)
    with pytest.raises(InvalidValue, match=said):
        slots.add_slot(store, {"name": "rack-top", "ip": str(OURS)}, **WHO)


def test_allocation_steps_over_the_appliance(store: SqlStore) -> None:
    enrol.add_machine(store, {"name": "n3", "mac": "52:54:00:00:00:03"}, **WHO)
    row = allocate.plan(store, allocate.read_rule({"prefix": NET})).rows[-1]
    assert (row.machine, row.ip) == ("n3", "10.12.1.3")
    computed = allocate.plan(store, allocate.read_rule({"prefix": NET, "expression": "10.12.1.(index-1)"}))
    assert "10.12.1.2 belongs to the gateway, DNS or NTP server of 10.12.1.0/24, or to the appliance" in str(
        computed.conflicts
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"gateway": "10.12.1.22"},
            "machine n2 has 10.12.1.22, which is the gateway of 10.12.1.0/24; give n2 another",
        ),
        ({"pools": "10.12.1.20-10.12.1.30"}, "machine n1 has 10.12.1.21, which lies in a dynamic pool of"),
    ],
)
def test_a_subnet_does_not_take_what_a_machine_has(store: SqlStore, fields: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        subnets.put_subnet(store, NET, fields, **WHO)
    subnets.put_subnet(store, NET, {"domain": "rack.example"}, **WHO)


def test_a_subnet_listed_after_its_machines_does_not_make_one_its_broadcast_address(store: SqlStore) -> None:
    slots.add_slot(store, {"name": "edge", "ip": "10.12.2.255"}, **WHO)
    with pytest.raises(
        Refused, match=r"slot edge has 10\.12\.2\.255, which is the network or broadcast address of"
    ):
        subnets.put_subnet(store, "10.12.2.0/24", {}, **WHO)
    subnets.put_subnet(store, "10.12.2.0/23", {}, **WHO)


def test_an_edit_of_something_else_does_not_judge_an_address_that_was_given_before(store: SqlStore) -> None:
    with store.transaction("before") as tx:
        subnet = tx.subnets.get(NET)
        tx.subnets.put(replace(subnet, gateway=IPv4Address("10.12.1.21")))
    exported = to_csv(export_rows(store)).replace("simple", "worker")
    assert import_machines(store, parse_csv(exported), **WHO).changed == ("n1", "n2")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ip": "10.12.1.77"}, "its install names address 10.12.1.21, not 10.12.1.77"),
        ({"ip": ""}, "its install names address 10.12.1.21, not none"),
        ({"name": "n9"}, "its install names name n1, not n9"),
        ({"mac": "52:54:00:00:00:99"}, "its install names MAC 52:54:00:00:00:01, not 52:54:00:00:00:99"),
    ],
)
def test_what_an_install_names_stays_while_it_is_ahead_or_under_way(
    store: SqlStore, fields: dict[str, str], said: str
) -> None:
    edit = enrol.change_machine if "mac" in fields else slots.change_slot
    arm.arm(store, Compiler(), KEY, "n1", **WHO)
    with pytest.raises(
        IllegalTransition, match=f"machine n1 is armed, and {said}; `provisioner machine disarm n1`"
    ):
        enrol.change_machine(store, "n1", fields, **WHO)
    with store.transaction("machine") as tx:
        tx.machines.put_progress(lifecycle.install_script_served(tx.machines.get("n1"), NOW))
    with pytest.raises(IllegalTransition, match=f"n1 is installing, and {said}; wait until it is installed, or"):
        edit(store, "n1", fields, **WHO)
    arm.release(store, "n1", **WHO)
    enrol.change_machine(store, "n1", fields, **WHO)


def test_what_an_install_does_not_name_may_change(store: SqlStore) -> None:
    arm.arm(store, Compiler(), KEY, "n1", **WHO)
    fields = {"rack": "r7", "labels": "site=zh", "mac": "52:54:00:00:00:01;52:54:00:00:00:11", "role": "worker"}
    assert enrol.change_machine(store, "n1", fields, **WHO).slot.rack == "r7"


def test_two_machines_of_a_file_swap_addresses_only_when_neither_is_being_installed(store: SqlStore) -> None:
    swap = parse_csv("name,mac,ip\nn1,52:54:00:00:00:01,10.12.1.22\nn2,52:54:00:00:00:02,10.12.1.21\n")
    arm.arm(store, Compiler(), KEY, "n2", **WHO)
    with pytest.raises(ImportRefused, match="line 3: machine n2 is armed, and its install names address"):
        import_machines(store, swap, **WHO)
    arm.disarm(store, "n2", **WHO)
    assert import_machines(store, swap, **WHO).changed == ("n1", "n2")


def test_a_plan_does_not_rename_what_is_being_installed(store: SqlStore) -> None:
    arm.arm(store, Compiler(), KEY, "n1", **WHO)
    made = allocate.plan(store, allocate.read_rule({"prefix": NET, "name": "core-{index}"}))
    assert [row.conflict for row in made.rows] == ["is armed: its install names it n1; disarm it first", ""]
