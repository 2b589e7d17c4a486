"""One BMC is one server's: a second machine behind it would have the first one's power switched."""

from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from provisioner.actions import arm, enrol
from provisioner.actions.harvest import merge
from provisioner.actions.inventory_file import ImportRefused, import_machines, parse_csv
from provisioner.domain.bmc import Bmc, Identity
from provisioner.domain.errors import Conflict
from provisioner.domain.mac import Mac
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}
A, B = "10.9.0.1", "10.9.0.2"


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path)
    for n, bmc in ((1, A), (2, B)):
        enrol.add_machine(made, {"name": f"n{n}", "mac": f"52:54:00:00:00:0{n}", "bmc": bmc}, **WHO)
    return made


def behind(store: SqlStore) -> dict[str, str]:
    with store.reading() as tx:
        return {m.name: tx.bmcs.get(str(m.bmc_id)).address for m in tx.machines.list() if m.bmc_id}


def imported(store: SqlStore, *lines: str) -> None:
    import_machines(store, parse_csv("\n".join(("name,mac,bmc", *lines))), **WHO)


def test_the_machine_that_has_it_is_named(store: SqlStore) -> None:
    said = f"bmc '{A}' already belongs to machine n1; name another one here, or first take it away there"
    with pytest.raises(Conflict, match=said):
        enrol.change_machine(store, "n2", {"bmc": A}, **WHO)
    with pytest.raises(Conflict, match=said):
        enrol.add_machine(store, {"name": "n3", "mac": "52:54:00:00:00:03", "bmc": A}, **WHO)
    assert behind(store) == {"n1": A, "n2": B}
    enrol.change_machine(store, "n1", {"bmc": ""}, **WHO)
    enrol.change_machine(store, "n2", {"bmc": A}, **WHO)
    assert behind(store) == {"n2": A}


def test_a_file_that_gives_one_to_two_machines_is_refused_with_its_lines(store: SqlStore) -> None:
    with pytest.raises(ImportRefused) as refused:
        imported(
            store, "x1,52:54:00:00:01:01,10.9.0.7", "x2,52:54:00:00:01:02,10.9.0.7", f"x3,52:54:00:00:01:03,{B}"
        )
    assert [(line, said.partition(";")[0]) for line, said in refused.value.errors] == [
        (3, "bmc '10.9.0.7' already belongs to machine x1"),
        (4, f"bmc '{B}' already belongs to machine n2"),
    ]
    assert behind(store) == {"n1": A, "n2": B}


def test_two_machines_swap_theirs_in_one_file(store: SqlStore) -> None:
    imported(store, f"n1,52:54:00:00:00:01,{B}", f"n2,52:54:00:00:00:02,{A}")
    assert behind(store) == {"n1": B, "n2": A}


def test_a_bmc_that_tells_of_anothers_server_is_a_contradiction(store: SqlStore) -> None:
    """Two cables were swapped: power for n1 would reach whoever is behind the BMC that is listed for it."""
    told = Identity(macs=(Mac.parse("52:54:00:00:00:01"),))
    with store.transaction("bmc") as tx:
        other = tx.bmcs.put(Bmc(uuid4(), "10.9.0.9"))
        with pytest.raises(
            Conflict, match=f"already belongs to machine n1, whose BMC is {A}; BMC 10.9.0.9 tells it"
        ):
            merge(tx, other, told, NOW)
    enrol.change_machine(store, "n1", {"bmc": "10.9.0.9"}, **WHO)
    with store.transaction("bmc") as tx:
        machine, said = merge(tx, other, told, NOW)
    assert machine and (machine.name, said) == ("n1", "BMC 10.9.0.9: nothing new")


def test_an_inventory_that_shares_one_already_can_be_edited_and_put_right(store: SqlStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE machines SET bmc_id = (SELECT min(bmc_id) FROM machines)"))
    arm.retire(store, "n1", **WHO)
    imported(store, "n1,52:54:00:00:00:01,", "n2,52:54:00:00:00:02;52:54:00:00:00:12,")
    enrol.change_machine(store, "n2", {"bmc": "10.9.0.9"}, **WHO)
    assert behind(store)["n2"] == "10.9.0.9"
