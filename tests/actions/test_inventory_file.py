"""Import is all or nothing with a line number per error; an export imports back to the same inventory."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.actions import inventory_file as files
from provisioner.actions.bmcs import add_bmc
from provisioner.actions.harvest import merge
from provisioner.domain.bmc import Identity
from provisioner.domain.mac import Mac
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

CSV = """name,mac,ip,role,rack,unit,bmc,labels
node-01,52:54:00:00:00:01,10.12.1.11,simple,r1,1,10.12.200.11,site=zh;owner=ops
node-02,5254.0000.0002,10.12.1.12,simple,r1,2,,
node-03,52-54-00-00-00-03;52-54-00-00-00-13,10.12.1.13;10.12.1.113,worker,r1,3,,"note=a, b"
"""


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return open_store(tmp_path)


def take(store: SqlStore, text: str) -> files.Imported:
    parse = files.parse_csv if text.startswith("name") or "," in text.splitlines()[0] else files.parse_yaml
    return files.import_machines(store, parse(text), actor="cli:test", now=NOW)


def test_a_second_import_of_the_same_file_changes_nothing(store: SqlStore) -> None:
    first = take(store, CSV)
    assert first.added == ("node-01", "node-02", "node-03")
    before = store.inventory()
    again = take(store, CSV)
    assert (again.added, again.changed, again.unchanged) == ((), (), 3)
    assert store.inventory() == before


@pytest.mark.parametrize("form", ["csv", "yaml"])
def test_an_export_imports_back_to_the_same_inventory(store: SqlStore, tmp_path: Path, form: str) -> None:
    take(store, CSV)
    rows = files.export_rows(store)
    text = files.to_csv(rows) if form == "csv" else files.to_yaml(rows)
    (tmp_path / "other").mkdir()
    other = open_store(tmp_path / "other")
    parse = files.parse_csv if form == "csv" else files.parse_yaml
    files.import_machines(other, parse(text), actor="cli:test", now=NOW)
    assert files.export_rows(other) == rows
    assert files.import_machines(store, parse(text), actor="cli:test", now=NOW).unchanged == 3


def test_every_faulty_line_is_named_and_nothing_is_written(store: SqlStore) -> None:
    faulty = (
        "name,mac,ip\n"
        "node-01,52:54:00:00:00:01,10.12.1.11\n"
        "node-02,52:54:00:00:00,10.12.1.12\n"
        "node-03,52:54:00:00:00:01,10.12.1.13\n"
        "\n"
        "node-01,52:54:00:00:00:04,10.12.1.14\n"
        "node-05,52:54:00:00:00:05,10.12.1.11\n"
    )
    with pytest.raises(files.ImportRefused) as refused:
        take(store, faulty)
    assert [line for line, _ in refused.value.errors] == [3, 4, 6, 7]
    text = str(refused.value)
    assert "line 3: mac '52:54:00:00:00' is not a MAC address" in text
    assert "line 4: mac '52:54:00:00:00:01' is on line 2 already" in text
    assert "line 6: name 'node-01' is on line 2 already" in text
    assert "line 7: ip '10.12.1.11' is on line 2 already" in text
    assert not store.inventory().machines


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,mca\nx,y\n", "line 1: column 'mca' is not known; did you mean mac? known columns: name, mac, ip"),
        ("name,ip\nx,y\n", "line 1: column 'mac' is missing; name and mac are needed"),
        ("name,mac\nnode-01,52:54:00:00:00:01,10.1.1.1\n", "line 2: 3 cells under 2 columns; quote cells"),
    ],
)
def test_a_file_of_another_shape_says_what_is_expected(store: SqlStore, text: str, sentence: str) -> None:
    with pytest.raises(files.ImportRefused) as refused:
        take(store, text)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("machines: 3\n", "line 1: expected a list of machines"),
        ("- name: a\n  mac: [\n", "is not YAML: expected the node content"),
        ("- name: a\n  mac: 52:54:00:00:00:01\n- b\n", "line 3: is not a mapping"),
    ],
)
def test_yaml_faults_name_their_line(text: str, sentence: str) -> None:
    with pytest.raises(files.ImportRefused) as refused:
        files.parse_yaml(text)
    assert sentence in str(refused.value)


def test_an_unquoted_mac_in_yaml_stays_a_mac(store: SqlStore) -> None:
    take(store, "- name: node-01\n  mac: 52:54:00:12:34:56\n  ip: 10.12.1.17\n")
    assert store.inventory().find("52:54:00:12:34:56") is not None


def test_empty_cells_leave_values_alone(store: SqlStore) -> None:
    take(store, CSV)
    take(store, "name,mac,role\nnode-01,52:54:00:00:00:01,\n")
    found = store.inventory().find("node-01")
    assert found is not None
    assert found.slot.role == "simple"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True),
            st.text("abcXYZ 0189.,:/@+=()-", max_size=12).map(str.strip),
            st.integers(0, 60),
            st.dictionaries(
                st.from_regex(r"[a-z]{1,5}", fullmatch=True),
                st.text("abc 019.,:/@()-", max_size=8).map(str.strip),
                max_size=3,
            ),
        ),
        max_size=5,
        unique_by=lambda row: row[0],
    ),
    st.sampled_from(["csv", "yaml"]),
)
def test_whatever_is_exported_reads_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int, dict[str, str]]], form: str
) -> None:
    store = open_store(tmp_path_factory.mktemp("one"))
    files.import_machines(
        store,
        [
            (n, {"name": name, "mac": f"52:54:00:00:01:{n:02x}", "rack": rack, "unit": unit, "labels": labels})
            for n, (name, rack, unit, labels) in enumerate(rows)
        ],
        actor="cli:test",
        now=NOW,
    )
    exported = files.export_rows(store)
    text = files.to_csv(exported) if form == "csv" else files.to_yaml(exported)
    if rows:
        parse = files.parse_csv if form == "csv" else files.parse_yaml
        other = open_store(tmp_path_factory.mktemp("two"))
        files.import_machines(other, parse(text), actor="cli:test", now=NOW)
        assert files.export_rows(other) == exported


def harvested(store: SqlStore, address: str, *macs: str) -> None:
    """A machine that its BMC told of."""
    bmc = add_bmc(store, {"address": address}, actor="test", now=NOW)
    with store.transaction("bmc") as tx:
        merge(tx, bmc, Identity(macs=tuple(map(Mac.parse, macs)), serial=f"SN {address}"), NOW)


def test_a_spreadsheet_names_the_machines_that_bmcs_told_of(store: SqlStore) -> None:
    harvested(store, "10.12.200.11", "52:54:00:00:00:01", "52:54:00:00:00:11")
    harvested(store, "10.12.200.12", "52:54:00:00:00:02")
    before = {machine.id for machine in store.inventory().machines.values()}
    done = take(
        store,
        "name,mac,rack,unit,bmc\n"
        "node-01,52:54:00:00:00:01,r1,1,10.12.200.11\n"
        "node-02,52:54:00:00:00:02,r1,2,\n"
        "node-03,52:54:00:00:00:03,r1,3,10.12.200.13\n",
    )
    assert (done.added, done.changed) == (("node-03",), ("node-01", "node-02"))
    found = {machine.name: machine for machine in store.inventory().machines.values()}
    first = found["node-01"]
    assert {found["node-01"].id, found["node-02"].id} == before
    # Cards that the list does not know stay, and so does what the BMC told.
    assert [str(mac) for mac in first.macs] == ["52:54:00:00:00:01", "52:54:00:00:00:11"]
    assert (first.serial, first.slot.rack, first.slot.unit) == ("SN 10.12.200.11", "r1", 1)
    assert {nic.source for nic in first.interfaces} == {"bmc"}


def test_a_row_that_contradicts_what_a_bmc_told_names_nobody(store: SqlStore) -> None:
    harvested(store, "10.12.200.11", "52:54:00:00:00:01")
    harvested(store, "10.12.200.12", "52:54:00:00:00:02")
    before = store.inventory()
    with pytest.raises(files.ImportRefused) as refused:
        take(
            store,
            "name,mac,bmc\n"
            "node-01,52:54:00:00:00:07,10.12.200.11\n"  # a typo
            "node-02,52:54:00:00:00:01,10.12.200.12\n"  # behind the other one
            "node-03,52:54:00:00:00:02,10.12.200.99\n",
        )
    assert [line for line, _ in refused.value.errors] == [2, 3, 4]
    told = [said for _, said in refused.value.errors]
    assert "52:54:00:00:00:07' is not what BMC 10.12.200.11 tells: 52:54:00:00:00:01" in told[0]
    assert "52:54:00:00:00:01' is not what BMC 10.12.200.12 tells: 52:54:00:00:00:02" in told[1]
    assert "10.12.200.99' is not the one that told of MAC 52:54:00:00:00:02" in told[2]
    assert all("bmc reconcile FILE" in said for said in told)
    assert store.inventory() == before


def test_a_machine_that_has_a_name_is_not_renamed_by_its_mac(store: SqlStore) -> None:
    take(store, "name,mac\nnode-01,52:54:00:00:00:01\n")
    with pytest.raises(files.ImportRefused, match="already belongs to machine node-01"):
        take(store, "name,mac\nother,52:54:00:00:00:01\n")
