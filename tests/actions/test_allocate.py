"""Plans carried out exactly, and printed for other people's DHCP servers."""

import csv
import io
import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.actions import allocate, enrol, inventory_file, reservations, subnets
from provisioner.actions.bmcs import add_bmc
from provisioner.domain.allocation import parse_plan
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

VENDOR = """name,mac,bmc,rack,unit,chassis,blade
b1,52:54:00:00:00:01,10.12.202.2,R1,1,c1,1
b2,52:54:00:00:00:02,10.12.202.3,R1,1,c1,2
b3,52:54:00:00:00:03,10.12.203.1,R2,1,c2,1
"""
SEED = {"prefix": "10.12.1.0/24", "expression": "10.12.1.((b3-202)*28 + b4)", "name": "core-{rack}-{index:02}"}
WHO = {"actor": "test", "now": NOW}


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path)
    subnets.put_subnet(made, "10.12.1.0/24", {"gateway": "10.12.1.1"}, **WHO)
    return made


def held(store: SqlStore) -> dict[str, str]:
    return {m.name: str(m.ip) for m in store.inventory().machines.values()}


def test_the_seeds_rule_from_the_inventory_to_addresses_and_names(store: SqlStore) -> None:
    inventory_file.import_machines(store, inventory_file.parse(VENDOR), **WHO)
    made = allocate.plan(store, allocate.read_rule(SEED))
    assert held(store) == {"b1": "None", "b2": "None", "b3": "None"}
    allocate.apply(store, parse_plan(json.loads(json.dumps(made.as_dict()))), **WHO)
    assert held(store) == {"core-r1-01": "10.12.1.2", "core-r1-02": "10.12.1.3", "core-r2-01": "10.12.1.29"}
    again = allocate.plan(store, allocate.read_rule(SEED))
    assert not any(row.changed for row in again.rows)


def test_a_plan_is_refused_when_anything_it_depends_on_moved(store: SqlStore) -> None:
    inventory_file.import_machines(store, inventory_file.parse(VENDOR), **WHO)
    made = allocate.plan(store, allocate.read_rule(SEED))
    # The same machines, but another BMC behind one of them: the expression would give another address.
    add_bmc(store, {"address": "10.12.204.9"}, **WHO)
    enrol.change_machine(store, "b2", {"bmc": "10.12.204.9"}, **WHO)
    with pytest.raises(Refused, match="inventory changed"):
        allocate.apply(store, made, **WHO)


def test_addresses_and_names_move_in_a_circle_and_further_nics_keep_theirs(store: SqlStore) -> None:
    for unit in (1, 2, 3):
        fields = {
            "mac": f"52:54:00:00:00:0{unit};52:54:00:00:01:0{unit}",
            "ip": f"10.12.1.{14 - unit};10.99.0.{unit}",
        }
        enrol.add_machine(store, {"name": f"n-{4 - unit}", "rack": "r1", "unit": unit, **fields}, **WHO)
    before = {m.slot.unit: m for m in store.inventory().machines.values()}
    rule = {"prefix": "10.12.1.0/24", "first": "10.12.1.11", "name": "n-{index}", "renumber": True}
    made = allocate.plan(store, allocate.read_rule(rule))
    assert not made.conflicts
    allocate.apply(store, made, **WHO)
    after = {m.slot.unit: m for m in store.inventory().machines.values()}
    assert {unit: (m.name, str(m.ip)) for unit, m in after.items()} == {
        1: ("n-1", "10.12.1.11"),
        2: ("n-2", "10.12.1.12"),
        3: ("n-3", "10.12.1.13"),
    }
    for unit, machine in after.items():
        assert machine.id == before[unit].id
        assert machine.address_for(machine.macs[1]) == IPv4Address(f"10.99.0.{unit}")
    with store.reading() as tx:
        told = [event.message for event in tx.events.list(machine_id=after[1].id)]
    assert told[0] == "changed n-1: name n-3 → n-1, ip 10.12.1.13;10.99.0.1 → 10.12.1.11;10.99.0.1"


def test_a_plan_with_conflicts_or_forged_values_is_not_applied(store: SqlStore) -> None:
    inventory_file.import_machines(store, inventory_file.parse(VENDOR), **WHO)
    made = allocate.plan(store, allocate.read_rule({"prefix": "10.12.1.0/24", "expression": "10.12.1.(b4-1)"}))
    with pytest.raises(Refused, match=r"2 conflict\(s\), the first: b1: .* belongs to the gateway"):
        allocate.apply(store, made, **WHO)
    sound = allocate.plan(store, allocate.read_rule(SEED))
    for change in ({"ip": "10.12.1.1"}, {"name": "x;reboot"}, {"machine_id": "nobody"}, {"ip": "10.12.1.29"}):
        forged = replace(sound, rows=(replace(sound.rows[0], **change), *sound.rows[1:]))
        with pytest.raises(Refused):
            allocate.apply(store, forged, **WHO)
    assert set(held(store).values()) == {"None"}


def test_a_files_machines_are_planned_without_storing_them(store: SqlStore) -> None:
    made = allocate.plan_file(store, allocate.read_rule(SEED), inventory_file.parse(VENDOR))
    rows = list(csv.DictReader(io.StringIO(reservations.to_csv(made))))
    assert [(row["machine"], row["name"], row["ip"], row["conflict"]) for row in rows] == [
        ("b1", "core-r1-01", "10.12.1.2", ""),
        ("b2", "core-r1-02", "10.12.1.3", ""),
        ("b3", "core-r2-01", "10.12.1.29", ""),
    ]
    as_json = json.dumps(list(csv.DictReader(io.StringIO(VENDOR))))
    assert allocate.plan_file(store, allocate.read_rule(SEED), inventory_file.parse(as_json)) == made
    assert held(store) == {}
    with pytest.raises(Refused, match="made from a file"):
        allocate.apply(store, made, **WHO)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prefix", "10.12.1.7/24"),
        ("prefix", "fd00::/64"),
        ("first", "10.12.2.1"),
        ("exclude", "10.12.1.9-10.12.1.3"),
        ("exclude", "10.12.1.x"),
        ("expression", "10.12.1.b9"),
        ("name", "{index.real}"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_its_field(store: SqlStore, field: str, value: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        allocate.plan(store, allocate.read_rule({"prefix": "10.12.1.0/24", field: value}))
    assert refused.value.field in (field, "name pattern")


@pytest.mark.system
def test_dnsmasq_takes_what_we_print(store: SqlStore, tmp_path: Path) -> None:
    made = allocate.plan_file(store, allocate.read_rule(SEED), inventory_file.parse(VENDOR))
    plain = tmp_path / "dnsmasq.conf"
    plain.write_text("port=0\ndhcp-range=10.12.1.0,static\n" + reservations.to_dnsmasq(made))
    checked = subprocess.run(
        ["dnsmasq", "--test", "-C", plain], capture_output=True, text=True, timeout=10, check=False
    )
    assert (checked.returncode, "syntax check OK" in checked.stderr) == (0, True), checked.stderr
    assert "dhcp-host=52:54:00:00:00:03,10.12.1.29,core-r2-01" in plain.read_text()


@pytest.mark.system
def test_kea_takes_what_we_print(store: SqlStore, tmp_path: Path) -> None:
    made = allocate.plan_file(store, allocate.read_rule(SEED), inventory_file.parse(VENDOR))
    included = tmp_path / "reservations.json"
    included.write_text(reservations.to_kea(made))
    config = tmp_path / "kea.json"
    subnet = f'{{"id": 1, "subnet": "10.12.1.0/24", "reservations": <?include "{included}"?>}}'
    config.write_text(f'{{"Dhcp4": {{"subnet4": [{subnet}]}}}}')
    checked = subprocess.run(["kea-dhcp4", "-t", config], capture_output=True, text=True, timeout=20, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.system
def test_isc_dhcpd_takes_what_we_print(store: SqlStore, tmp_path: Path) -> None:
    made = allocate.plan_file(store, allocate.read_rule(SEED), inventory_file.parse(VENDOR))
    hosts, config = tmp_path / "hosts.conf", tmp_path / "dhcpd.conf"
    hosts.write_text(reservations.to_dhcpd(made))
    config.write_text(f'subnet 10.12.1.0 netmask 255.255.255.0 {{ }}\ninclude "{hosts}";\n')
    checked = subprocess.run(
        ["dhcpd", "-t", "-cf", config, "-lf", "/dev/null"], capture_output=True, text=True, timeout=20, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert hosts.read_text().count("fixed-address") == len(made.rows)
    # It does refuse what is wrong.
    hosts.write_text(reservations.to_dhcpd(made).replace("ethernet 52:", "ethernet 52", 1))
    assert subprocess.run(["dhcpd", "-t", "-cf", config], capture_output=True, timeout=20, check=False).returncode


def test_the_formats_of_other_servers(store: SqlStore) -> None:
    short = {"prefix": "10.12.1.0/24", "expression": "10.12.1.(b4-1)"}
    made = allocate.plan_file(store, allocate.read_rule(short), inventory_file.parse(VENDOR))
    assert reservations.to_dhcpd(made).splitlines()[1] == (
        'host b2 { hardware ethernet 52:54:00:00:00:02; fixed-address 10.12.1.2; option host-name "b2"; }'
    )
    # The first computes to the gateway: told in a comment, or left out where the format has none.
    assert reservations.to_dhcpd(made).startswith("# b1: ")
    assert reservations.to_dnsmasq(made).startswith("# b1: ")
    assert json.loads(reservations.to_kea(made)) == [
        {"hw-address": "52:54:00:00:00:02", "ip-address": "10.12.1.2", "hostname": "b2"},
    ]
