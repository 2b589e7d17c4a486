"""What Prometheus is told to scrape."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from provisioner.actions import accounts
from provisioner.domain.machine import State
from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, OTHER_MAC, Appliance, make_appliance


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path, create_people_app):
        made.user()
        yield made


@pytest.fixture
def api(appliance: Appliance) -> TestClient:
    _, secret = accounts.create_token(appliance.store, "ada", "prometheus", actor="test", now=appliance.clock())
    return TestClient(appliance.app, headers={"Authorization": f"Bearer {secret}"})


def test_machines_that_run_are_targets(appliance: Appliance, api: TestClient) -> None:
    assert api.get("/sd/prometheus").json() == []
    runs = appliance.add("node-1", MAC, IP, cluster="core", rack="r1", labels={"site/room": "zh 1"})
    appliance.add("node-2", OTHER_MAC, "10.12.1.99")
    with appliance.store.transaction("test") as tx:
        tx.machines.put_progress(replace(runs, state=State.ACTIVE))
    answer = api.get("/sd/prometheus")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [
        {
            "targets": [f"{IP}:9100"],
            "labels": {
                "__meta_provisioner_name": "node-1",
                "__meta_provisioner_role": "simple",
                "__meta_provisioner_cluster": "core",
                "__meta_provisioner_rack": "r1",
                "__meta_provisioner_label_site_room": "zh 1",
            },
        }
    ]
    assert api.get("/sd/prometheus?port=9256&role=simple&cluster=core").json()[0]["targets"] == [f"{IP}:9256"]
    assert api.get("/sd/prometheus?role=worker").json() == api.get("/sd/prometheus?cluster=x").json() == []
    assert api.get("/sd/prometheus?port=0").status_code == 422


def test_who_may_not_see_names_is_told_nothing(appliance: Appliance) -> None:
    answer = TestClient(appliance.app).get("/sd/prometheus")
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
