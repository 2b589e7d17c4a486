"""Slots over the API: listed empty, filled, edited, given another board, removed."""

from typing import Any

from starlette.testclient import TestClient

from tests.web.appliance import IP, MAC, OTHER_MAC, Appliance

SLOTS = "/api/v1/slots"
MACHINES = "/api/v1/machines"


def names(answer: Any) -> list[str]:
    return [item["name"] for item in answer.json()["items"]]


def test_a_slots_life(appliance: Appliance, api: TestClient) -> None:
    made = api.post(SLOTS, json={"name": "node-7", "ip": IP, "role": "simple", "unit": 7, "params": {"a": 1}})
    assert (made.status_code, made.json()["machine_id"], made.json()["addresses"]) == (201, None, [IP])
    location, tag = made.headers["location"], made.headers["etag"]
    assert api.get(location).json() == api.get(f"{SLOTS}/node-7").json() == made.json()
    changed = api.patch(location, json={"unit": 8}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["unit"]) == (200, 8)
    assert api.patch(location, json={"unit": 9}, headers={"If-Match": tag}).status_code == 412
    assert api.delete(location, headers={"If-Match": tag}).status_code == 412

    appliance.add("node-8", OTHER_MAC, "10.12.1.88")
    assert (names(api.get(SLOTS)), names(api.get(f"{SLOTS}?empty=true"))) == (["node-7", "node-8"], ["node-7"])
    machine = api.post(MACHINES, json={"name": "node-7", "mac": MAC}).json()
    assert (machine["ip"], machine["role"], machine["unit"], machine["state"]) == (IP, "simple", 8, "ready")
    assert api.get(f"{SLOTS}/{machine['id']}").json()["machine_id"] == machine["id"]
    assert names(api.get(f"{SLOTS}?empty=true")) == []
    refused = api.delete(location)
    assert (refused.status_code, refused.json()["holder"]) == (409, "machine node-7, which sits in it")
    assert "provisioner machine remove node-7" in refused.json()["remedy"]

    stale = changed.headers["etag"]
    board = {"mac": "52:54:00:00:00:99"}
    assert api.post(f"{location}/board", json=board, headers={"If-Match": stale}).status_code == 412
    replaced = api.post(f"{location}/board", json=board)
    assert (replaced.status_code, replaced.json()["addresses"], replaced.json()["role"]) == (200, [IP], "simple")
    assert api.get(f"{MACHINES}/node-7").json()["mac"] == board["mac"]
    assert api.get(f"{MACHINES}/{MAC}").status_code == 404

    assert api.delete(f"{MACHINES}/node-7").status_code == 204
    assert api.get(location).json()["machine_id"] is None
    assert api.delete(location).status_code == 204
    assert api.get(location).status_code == 404
    assert api.delete(f"{MACHINES}/node-8?keep_slot=true").status_code == 204
    assert names(api.get(f"{SLOTS}?empty=true")) == ["node-8"]


def test_refusals_name_the_field(api: TestClient) -> None:
    assert api.post(SLOTS, json={"name": "node-7", "ip": IP}).status_code == 201
    for body, status, field in (
        ({"name": "Node_7"}, 422, "name"),
        ({"ip": IP}, 422, "name"),
        ({"name": "node-7"}, 409, "name"),
        ({"name": "node-8", "ip": IP}, 409, "ip"),
        ({"name": "node-8", "ip": "10.12.0.1"}, 422, "ip"),
        ({"name": "node-8", "role": "king"}, 422, "role"),
        ({"name": "node-8", "mac": MAC}, 422, "mac"),
    ):
        refused = api.post(SLOTS, json=body)
        assert (refused.status_code, refused.json()["field"]) == (status, field), body
    contradicting = api.post(MACHINES, json={"name": "node-7", "mac": MAC, "ip": "10.12.1.99"})
    assert (contradicting.status_code, contradicting.json()["field"]) == (422, "ip")
    assert IP in contradicting.json()["detail"]
