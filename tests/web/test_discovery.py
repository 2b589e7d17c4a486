"""What Prometheus is told to scrape."""

from dataclasses import replace

from starlette.testclient import TestClient

from provisioner.domain.machine import State
from tests.web.appliance import IP, MAC, OTHER_MAC, Appliance


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
