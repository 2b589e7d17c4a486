"""Clusters over the API."""

from starlette.testclient import TestClient

from tests.web.appliance import IP, MAC, Appliance

CLUSTERS = "/api/v1/clusters"


def test_a_clusters_life(appliance: Appliance, api: TestClient) -> None:
    made = api.post(CLUSTERS, json={"name": "core", "endpoint": "10.12.1.10:6443"})
    assert (made.status_code, made.json()["endpoint"]) == (201, "10.12.1.10:6443")
    location, tag = made.headers["location"], made.headers["etag"]
    assert api.get(location).json() == api.get(f"{CLUSTERS}/core").json() == api.get(CLUSTERS).json()["items"][0]
    appliance.add("node-1", MAC, IP, cluster="core")
    assert api.get(location).json()["machines"] == ["node-1"]
    assert api.patch(location, json={"endpoint": None}, headers={"If-Match": tag}).json()["endpoint"] == ""
    assert api.patch(location, json={"endpoint": "x"}, headers={"If-Match": tag}).status_code == 412
    assert api.delete(location, headers={"If-Match": tag}).status_code == 412
    refused = api.delete(location)
    assert (refused.status_code, refused.json()["holder"]) == (409, "slot node-1")
    assert "provisioner slot set node-1" in refused.json()["remedy"]
    assert api.delete("/api/v1/machines/node-1").status_code == 204
    assert api.delete(location).status_code == 204
    assert api.get(location).status_code == 404


def test_refusals_name_the_field(api: TestClient) -> None:
    for body, status, field in (
        ({"name": "Core"}, 422, "name"),
        ({"name": "core", "endpoint": "a b"}, 422, "endpoint"),
        ({"name": "core", "colour": "red"}, 422, "colour"),
        ({"endpoint": "x"}, 422, "name"),
    ):
        refused = api.post(CLUSTERS, json=body)
        assert (refused.status_code, refused.json()["field"]) == (status, field)
    assert api.post(CLUSTERS, json={"name": "core"}).status_code == 201
    assert api.post(CLUSTERS, json={"name": "core"}).status_code == 409
