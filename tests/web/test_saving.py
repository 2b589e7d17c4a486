"""Parameters over the API: whose files they change is shown first, and what reaches far needs the plan's hash."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from provisioner.actions import clusters
from provisioner.domain.machine import Install, State
from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, OTHER_IP, OTHER_MAC, Appliance, make_appliance

NODE, SLOT, CLUSTER = "/api/v1/machines/node-1", "/api/v1/slots/node-1", "/api/v1/clusters/blue"
KEYS = {"params": {"ssh_authorized_keys": ["ssh-ed25519 AAAA ada"]}}


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path, create_people_app):
        made.user()
        made.add("node-1", MAC, IP)
        yield made


def installed(appliance: Appliance, name: str = "node-1") -> None:
    """Its disk was written from what the role's folder holds."""
    revision = appliance.parts.planner.roles.draft("simple").revision
    machine = appliance.machine(name)
    install = Install(UUID(int=7), "simple", revision, "h", armed_at=0, deadline=1, outcome="complete")
    with appliance.store.transaction("test") as tx:
        tx.machines.put(replace(machine, state=State.ACTIVE, install=install))


@pytest.mark.parametrize("door", [NODE, SLOT])
def test_what_is_installed_is_shown_with_differences_and_saved_by_the_plans_hash(
    appliance: Appliance, api: TestClient, door: str
) -> None:
    installed(appliance)
    plan = api.post(f"{door}/plan", json=KEYS).json()
    (machine,) = plan["machines"]
    assert (machine["name"], machine["installed"], plan["needed"], plan["verdict"]) == (
        "node-1",
        True,
        True,
        "valid",
    )
    diffs = {file["name"]: file["diff"] for file in machine["files"]}
    assert "ssh-ed25519 AAAA ada" in diffs["config.yml"] and diffs["config.yml"].startswith("--- config.yml")

    refused = api.patch(door, json=KEYS)
    assert refused.status_code == 428
    assert "this changes what node-1 (installed) would be told" in refused.json()["detail"]
    assert plan["hash"] in refused.json()["remedy"]
    assert appliance.machine("node-1").slot.params == {}

    assert api.patch(f"{door}?plan=0123456789abcdef", json=KEYS).status_code == 412
    assert api.patch(f"{door}?plan={plan['hash']}", json=KEYS).status_code == 200
    assert appliance.machine("node-1").slot.params == KEYS["params"]


def test_a_machine_that_was_told_nothing_is_edited_as_ever(appliance: Appliance, api: TestClient) -> None:
    plan = api.post(f"{NODE}/plan", json=KEYS).json()
    assert (len(plan["machines"]), plan["needed"]) == (1, False)
    assert api.patch(NODE, json=KEYS).status_code == 200


def test_fields_that_render_nothing_need_no_plan(appliance: Appliance, api: TestClient) -> None:
    installed(appliance)
    assert api.patch(NODE, json={"labels": {"site": "zh"}}).status_code == 200
    assert api.patch(NODE, json={"params": {}}).status_code == 200
    assert api.post(f"{NODE}/plan", json={"params": {}}).json()["machines"] == []


@pytest.mark.parametrize("params", [{"ssh_autorized_keys": []}, {"ssh_authorized_keys": {"a": 1}}])
def test_parameters_that_the_role_does_not_have_or_take_are_refused_at_save(
    appliance: Appliance, api: TestClient, params: dict[str, object]
) -> None:
    assert api.post(f"{NODE}/plan", json={"params": params}).json()["verdict"] == "invalid"
    refused = api.patch(NODE, json={"params": params})
    assert (refused.status_code, next(iter(params)) in refused.text) == (409, True)
    assert appliance.machine("node-1").slot.params == {}


def test_what_cannot_be_compiled_yet_may_be_corrected_step_by_step(appliance: Appliance, api: TestClient) -> None:
    with appliance.store.transaction("test") as tx:
        tx.machines.put(replace(tx.machines.get("node-1"), addresses=()))
    assert api.patch(NODE, json={"params": {"anything": "x"}}).status_code == 200


def test_an_edit_meanwhile_makes_another_plan_of_it(appliance: Appliance, api: TestClient) -> None:
    installed(appliance)
    plan = api.post(f"{NODE}/plan", json=KEYS).json()["hash"]
    other = {"params": {"ssh_authorized_keys": ["ssh-ed25519 BBBB bob"]}}
    second = api.post(f"{NODE}/plan", json=other).json()["hash"]
    assert api.patch(f"{NODE}?plan={second}", json=other).status_code == 200
    assert api.patch(f"{NODE}?plan={plan}", json=KEYS).status_code == 412


def test_a_clusters_endpoint_is_saved_with_open_eyes(appliance: Appliance, api: TestClient) -> None:
    clusters.put_cluster(appliance.store, "blue", {}, actor="test", now=0, create=True)
    assert api.patch(CLUSTER, json={"endpoint": "10.12.1.100:6443"}).status_code == 200, "it has no machine yet"
    appliance.add("node-2", OTHER_MAC, OTHER_IP, role="worker", cluster="blue")
    changed = {"endpoint": "10.12.1.101:6443"}
    plan = api.post(f"{CLUSTER}/plan", json=changed).json()
    assert [machine["name"] for machine in plan["machines"]] == ["node-2"], "node-1 is in no cluster"
    assert api.patch(CLUSTER, json=changed).status_code == 428
    assert api.patch(f"{CLUSTER}?plan={plan['hash']}", json=changed).json()["endpoint"] == "10.12.1.101:6443"


def test_an_empty_place_changes_nobody(appliance: Appliance, api: TestClient) -> None:
    api.post("/api/v1/slots", json={"name": "empty-1"})
    assert api.post("/api/v1/slots/empty-1/plan", json=KEYS).json()["machines"] == []
    assert api.patch("/api/v1/slots/empty-1", json=KEYS).status_code == 200
