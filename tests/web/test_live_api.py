"""Asking for a live system over the API."""

from starlette.testclient import TestClient

from tests.web.appliance import IP, MAC, Appliance

RESCUE = "/api/v1/machines/node-1/rescue"


def test_a_rescue_is_asked_for_by_name_and_taken_back(appliance: Appliance, api: TestClient) -> None:
    appliance.add("node-1", MAC, IP)
    assert api.post(RESCUE).json()["live"] == "rescue"
    assert api.post(RESCUE, json={"role": "memtest"}).json()["live"] == "memtest"
    assert appliance.events("node-1")[-1].actor == "token:ci"
    assert api.post(RESCUE, json={"role": ""}).json()["live"] == ""
    refused = api.post(RESCUE, json={"role": "worker"})
    assert (refused.status_code, refused.json()["remedy"]) == (409, "arm it")
    appliance.arm("node-1")
    assert api.post(RESCUE).json()["type"] == "urn:provisioner:problem:illegal-transition"
