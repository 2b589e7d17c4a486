"""The API as a script meets it: a bearer token, real store, problem documents."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from provisioner.actions import accounts, newcomers
from provisioner.actions.bmcs import add_bmc
from provisioner.actions.subnets import put_subnet
from provisioner.domain.events import Sighting
from provisioner.domain.mac import Mac
from provisioner.web.api.bmcs import Bmcs
from provisioner.web.api.subnets import Subnets
from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, OTHER_IP, OTHER_MAC, Appliance, make_appliance

API = "/api/v1"


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    return document


def test_each_app_answers_from_its_own_appliance(appliance: Appliance, api: TestClient, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for other in make_appliance(tmp_path / "other", create_people_app):
        other.user()
        other.add("elsewhere", OTHER_MAC, OTHER_IP)
        appliance.add("here", MAC, IP)
        _, secret = accounts.create_token(other.store, "ada", "ci", actor="test", now=other.clock())
        there = TestClient(other.app, headers={"Authorization": f"Bearer {secret}"})
        told = [[one["name"] for one in client.get(f"{API}/machines").json()["items"]] for client in (api, there)]
        assert told == [["here"], ["elsewhere"]]
        assert api.get(f"{API}/machines?self=elsewhere").json()["items"][0]["name"] == "here"


def test_a_machines_life(appliance: Appliance, api: TestClient) -> None:
    fields = {"name": "node-1", "mac": MAC, "ip": IP, "role": "simple", "rack": "r1", "unit": 7}
    made = api.post(f"{API}/machines", json=fields | {"labels": {"site": "zh"}})
    assert made.status_code == 201
    location, tag = made.headers["location"], made.headers["etag"]
    shown = api.get(location).json()
    assert (shown["name"], shown["ip"], shown["mac"], shown["unit"]) == ("node-1", IP, MAC, 7)
    assert (shown["state"], shown["state_reason"]) == ("ready", "has a role and an address")
    for ref in ("node-1", shown["id"], MAC, IP, MAC.upper().replace(":", "-")):
        assert api.get(f"{API}/machines/{ref}").json() == shown

    changed = api.patch(location, json={"labels": {"site": "be"}, "unit": None}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["labels"], changed.json()["unit"]) == (200, {"site": "be"}, None)
    assert changed.headers["etag"] != tag
    stale = problem(api.patch(location, json={"rack": "r2"}, headers={"If-Match": tag}), 412)
    assert "somebody else changed it" in stale["detail"]
    assert api.patch(location, json={"rack": "r2"}).status_code == 200

    armed = api.post(f"{location}/arm", json={"hours": 2})
    assert (armed.json()["state"], armed.json()["install"]["max_attempts"]) == ("armed", 3)
    assert api.post(f"{location}/disarm").json()["state"] == "ready"
    assert problem(api.post(f"{location}/disarm"), 409)["type"] == "urn:provisioner:problem:illegal-transition"
    told = [event["message"] for event in api.get(f"{API}/events?machine=node-1").json()["items"]]
    assert told[0] == "armed → ready: disarmed"
    assert {event["actor"] for event in api.get(f"{API}/events?machine=node-1").json()["items"]} == {"token:ci"}
    assert api.delete(location, headers={"If-Match": '"1"'}).status_code == 412
    assert api.delete(location).status_code == 204
    assert problem(api.get(location), 404)["type"] == "urn:provisioner:problem:not-found"


def test_a_machine_that_came_by_itself_is_approved(appliance: Appliance, api: TestClient) -> None:
    sighting = Sighting(Mac.parse(MAC), "dhcp", 1, "PXE on eth1", "approve")
    with appliance.store.transaction("packets") as tx:
        newcomers.list_seen(tx, [sighting])
    shown = api.get(f"{API}/machines/{MAC}").json()
    assert (shown["approved"], shown["state"]) == (False, "new")
    assert api.post(f"{API}/machines/{MAC}/approve").json()["approved"] is True
    assert "needs no approval" in problem(api.post(f"{API}/machines/{MAC}/approve"), 409)["detail"]


def test_refusals_name_field_value_holder_and_remedy(appliance: Appliance, api: TestClient) -> None:
    appliance.add("node-1", MAC, IP)
    document = problem(api.post(f"{API}/machines", json={"name": "node-2", "mac": MAC}), 409)
    assert (document["field"], document["value"]) == ("mac", MAC)
    assert "node-1" in document["holder"]
    assert document["remedy"]
    document = problem(api.post(f"{API}/machines", json={"name": "Node_2", "mac": OTHER_MAC}), 422)
    assert (document["field"], document["value"]) == ("name", "Node_2")
    document = problem(api.post(f"{API}/machines", json={"name": "node-2", "colour": "red"}), 422)
    assert (document["field"], document["value"]) == ("colour", "red")
    assert problem(api.post(f"{API}/machines", content=b"{"), 422)["field"]
    assert problem(api.get(f"{API}/nonsense"), 404)
    assert problem(api.put(f"{API}/machines"), 405)
    assert len(api.get(f"{API}/machines").json()["items"]) == 1


def test_lists_are_paged_and_filtered(appliance: Appliance, api: TestClient) -> None:
    for number in range(7):
        appliance.add(f"node-{number}", f"52:54:00:00:00:{number:02x}", f"10.12.2.{number + 1}")
    names, after = [], ""
    while True:
        page = api.get(f"{API}/machines", params={"limit": 3, "after": after}).json()
        names += [machine["name"] for machine in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert names == [f"node-{number}" for number in range(7)]
    assert [m["name"] for m in api.get(f"{API}/machines?q=00:00:03").json()["items"]] == ["node-3"]
    assert api.get(f"{API}/machines?state=armed").json()["items"] == []
    assert problem(api.get(f"{API}/machines?limit=0"), 422)["field"] == "limit"

    seen, before = [], None
    while True:
        query = {"limit": 4} | ({"before": before} if before else {})
        page = api.get(f"{API}/events", params=query).json()
        seen += [event["id"] for event in page["items"]]
        before = page["next"]
        if before is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert [event["id"] for event in api.get(f"{API}/events?after=0").json()["items"]] == seen[::-1]


def test_subnets_by_prefix_and_id(api: TestClient) -> None:
    made = api.post(f"{API}/subnets", json={"prefix": "10.13.0.0/24", "gateway": "10.13.0.1", "dns": ["10.13.0.2"]})
    assert made.status_code == 201
    for ref in ("10.13.0.0/24", "10.13.0.0%2F24", made.json()["id"]):
        assert api.get(f"{API}/subnets/{ref}").json()["gateway"] == "10.13.0.1"
    tag = made.headers["etag"]
    changed = api.patch(f"{API}/subnets/10.13.0.0/24", json={"domain": "rack.example"}, headers={"If-Match": tag})
    assert changed.json()["domain"] == "rack.example"
    options = {"mtu": "9000", "domain-search": "rack.example"}
    told = api.patch(f"{API}/subnets/10.13.0.0/24", json={"options": options}).json()["options"]
    assert told == options
    told = api.patch(f"{API}/subnets/10.13.0.0/24", json={"options": {"mtu": None}}).json()["options"]
    assert told == {"domain-search": "rack.example"}
    wrong = problem(api.patch(f"{API}/subnets/10.13.0.0/24", json={"options": {"mtu": "1"}}), 422)
    assert (wrong["field"], wrong["remedy"]) == ("option", "write it like mtu=9000")
    assert api.patch(f"{API}/subnets/10.13.0.0/24", json={"options": None}).json()["options"] == {}
    assert problem(api.delete(f"{API}/subnets/10.13.0.0/24", headers={"If-Match": tag}), 412)
    assert problem(api.post(f"{API}/subnets", json={"prefix": "10.13.0.0/25"}), 409)["field"] == "prefix"
    assert problem(api.post(f"{API}/subnets", json={"prefix": "10.13.0.1/24"}), 422)["remedy"]
    assert api.delete(f"{API}/subnets/10.13.0.0/24").status_code == 204


@pytest.mark.rule("threat-04")
def test_bmc_passwords_go_in_and_never_come_out(appliance: Appliance, api: TestClient) -> None:
    secret = "s3cret-of-the-bmc"
    login = {"address": "10.12.9.1", "user": "ADMIN", "password": secret}
    answers = [
        api.post(f"{API}/bmcs", json=login),
        api.get(f"{API}/bmcs"),
        api.get(f"{API}/bmcs/10.12.9.1"),
        api.patch(f"{API}/bmcs/10.12.9.1", json={"chassis": "c1"}),
        api.get(f"{API}/events"),
        api.post(f"{API}/bmcs", json=login | {"port": "x" + secret}),
        api.post(f"{API}/bmcs", json=login | {"password": {"a": secret}}),
        api.post(f"{API}/bmcs", json={"user": "ADMIN", "password": secret}),
        api.post(f"{API}/bmcs/harvest", json={}),
        api.get(f"{API}/jobs"),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 422, 422, 422, 202, 200]
    assert answers[2].json()["has_login"] is True
    assert all(secret not in answer.text for answer in (*answers[:5], *answers[6:]))
    with appliance.store.reading() as tx:
        bmc = tx.bmcs.get("10.12.9.1")
        assert tx.credentials.get(str(bmc.credential_id)).password == secret


@pytest.mark.rule("threat-05")
@pytest.mark.parametrize("kind", ["bmcs", "subnets"])
def test_who_comes_between_the_reading_and_the_writing_of_an_edit_is_not_overwritten(
    appliance: Appliance, api: TestClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    who = {"actor": "somebody else", "now": appliance.clock()}
    resource: type[Any]
    if kind == "bmcs":
        resource, ref, sent = Bmcs, "10.12.200.17", {"chassis": "mine"}
        tag = api.post(f"{API}/bmcs", json={"address": ref}).headers["ETag"]
        edit = partial(add_bmc, appliance.store, {"address": ref, "chassis": "theirs"}, **who)
    else:
        resource, ref, sent = Subnets, "10.13.0.0/24", {"domain": "mine"}
        tag = api.post(f"{API}/subnets", json={"prefix": ref}).headers["ETag"]
        edit = partial(put_subnet, appliance.store, ref, {"domain": "theirs"}, **who)
    find = resource._find

    def find_then_another(self: Any, ref: str) -> Any:
        found = find(self, ref)
        edit()
        return found

    monkeypatch.setattr(resource, "_find", find_then_another)
    assert api.patch(f"{API}/{kind}/{ref}", headers={"If-Match": tag}, json=sent).status_code == 412
    monkeypatch.undo()
    assert "theirs" in api.get(f"{API}/{kind}/{ref}").json().values()


def test_a_bmc_is_not_at_our_own_addresses(api: TestClient) -> None:
    forbidden = ["169.254.169.254", "127.0.0.1", "::1", "2130706433", "0x7f.1", "0.0.0.0", "a.example", "224.0.0.1"]
    for address in forbidden:
        assert problem(api.post(f"{API}/bmcs", json={"address": address}), 422)["field"] == "address", address


def test_power_and_install_are_jobs(appliance: Appliance, api: TestClient) -> None:
    appliance.add("node-1", MAC, IP)
    assert "no BMC" in problem(api.post(f"{API}/machines/node-1/power", json={"operation": "on"}), 409)["detail"]
    api.post(f"{API}/bmcs", json={"address": "10.12.9.1", "user": "u", "password": "p"})
    api.patch(f"{API}/machines/node-1", json={"bmc": "10.12.9.1"})
    answer = api.post(f"{API}/machines/node-1/power", json={"operation": "explode"})
    assert problem(answer, 422)["field"] == "operation"
    rack = {"operation": "on", "rack": "nowhere", "wave": 20, "every": 5}
    assert "no machine of rack nowhere" in problem(api.post(f"{API}/machines/power", json=rack), 409)["detail"]
    waves = api.post(f"{API}/machines/power", json={"operation": "status", "machines": ["node-1"], "wave": 1})
    assert (waves.status_code, waves.json()["total"]) == (202, 1)
    queued = api.post(f"{API}/machines/node-1/power", json={"operation": "cycle"})
    assert queued.status_code == 202
    assert api.get(queued.headers["location"]).json()["state"] == "queued"
    appliance.clock.advance(1)
    assert api.post(f"{API}/machines/node-1/install").status_code == 202
    assert appliance.machine("node-1").state == "armed"
    assert [job["kind"] for job in api.get(f"{API}/jobs").json()["items"]] == ["power", "power", "install"]


def test_simulate_stores_nothing_and_shows_no_token(appliance: Appliance, api: TestClient) -> None:
    appliance.add("node-1", MAC, IP)
    before = appliance.machine("node-1")
    told = api.get(f"{API}/machines/node-1/simulate").json()
    assert (told["action"], told["if_armed"]["role"]) == ("disk", "simple")
    appliance.arm("node-1")
    told = api.get(f"{API}/machines/{MAC}/simulate")
    assert told.json()["action"] == "install"
    assert appliance.token("node-1") not in told.text
    assert "@@INSTALL_TOKEN@@" in told.text
    assert api.get(f"{API}/machines/52:54:00:99:99:99/simulate").json()["machine"] is None
    assert problem(api.get(f"{API}/machines/nobody/simulate"), 404)
    assert before.install is None


def test_allocate_plan_then_apply(appliance: Appliance, api: TestClient) -> None:
    for name, mac in (("a", MAC), ("b", OTHER_MAC)):
        api.post(f"{API}/machines", json={"name": name, "mac": mac})
    rule = {"prefix": "10.12.0.0/16", "first": "10.12.5.1", "name": "node-{index:02}", "role": "simple"}
    plan = api.post(f"{API}/allocations/plan", json=rule).json()
    assert [(row["name"], row["ip"]) for row in plan["rows"]] == [
        ("node-01", "10.12.5.1"),
        ("node-02", "10.12.5.2"),
    ]
    changed = api.post(f"{API}/allocations/apply", json=plan)
    assert [machine["state"] for machine in changed.json()] == ["ready", "ready"]
    assert "inventory changed" in problem(api.post(f"{API}/allocations/apply", json=plan), 409)["detail"]
    assert problem(api.post(f"{API}/allocations/plan", json=rule | {"first": "fe80::1"}), 422)["field"] == "first"


def test_slots_carry_the_intent(appliance: Appliance, api: TestClient) -> None:
    appliance.add("node-1", MAC, IP)
    slot = api.get(f"{API}/slots").json()["items"][0]
    changed = api.patch(f"{API}/slots/{slot['id']}", json={"rack": "r9", "params": {"ssh_authorized_keys": ["k"]}})
    assert (changed.json()["rack"], changed.json()["params"]) == ("r9", {"ssh_authorized_keys": ["k"]})
    assert appliance.machine("node-1").slot.rack == "r9"


def test_the_last_log(appliance: Appliance, api: TestClient) -> None:
    from provisioner.domain.events import Event, Kind

    machine = appliance.add("node-1", MAC, IP)
    assert api.get(f"{API}/machines/node-1/log").json() == {"at": None, "text": None}
    with appliance.store.transaction("machine") as tx:
        tx.events.add(Event(Kind.REPORT_LOG, "log", appliance.clock(), machine.id, data={"text": "<b>\nend"}))
    assert api.get(f"{API}/machines/node-1/log").json()["text"] == "<b>\nend"
    assert api.get(f"{API}/events?machine=node-1").json()["items"][0]["data"] == {}


def test_users_and_tokens(appliance: Appliance, api: TestClient) -> None:
    assert api.post(f"{API}/users", json={"name": "bob", "password": "short"}).status_code == 422
    made = api.post(f"{API}/users", json={"name": "bob", "password": "a long enough phrase"})
    assert made.status_code == 201
    assert problem(api.post(f"{API}/users", json={"name": "bob", "password": "another phrase"}), 409)
    token = api.post(f"{API}/tokens", json={"name": "night", "user": "bob", "days": 1}).json()
    night = {"Authorization": f"Bearer {token['secret']}"}
    assert api.get(f"{API}/users", headers=night).status_code == 200
    assert token["secret"] not in api.get(f"{API}/tokens").text
    appliance.clock.advance(86_401)
    assert api.get(f"{API}/users", headers=night).status_code == 401
    assert api.delete(f"{API}/tokens/night").status_code == 204
    assert api.delete(f"{API}/users/bob").status_code == 204
    assert "last user" in problem(api.delete(f"{API}/users/ada"), 409)["detail"]
    for text in (api.get(f"{API}/users").text, api.get(f"{API}/events").text):
        assert "argon2" not in text


def test_database_away(appliance: Appliance, api: TestClient) -> None:
    assert api.get("/readyz").status_code == 200
    appliance.store.away = True
    answer = api.get(f"{API}/subnets")
    assert problem(answer, 503)["type"] == "urn:provisioner:problem:store-unavailable"
    assert answer.headers["retry-after"]
    assert (api.get("/healthz").status_code, api.get("/readyz").status_code) == (200, 503)
    assert "provisioner_database_up 0.0" in api.get("/metrics").text


def test_metrics_count_machines_by_state(appliance: Appliance, api: TestClient) -> None:
    appliance.add("node-1", MAC, IP)
    appliance.add("node-2", OTHER_MAC, OTHER_IP)
    appliance.arm("node-2")
    text = TestClient(appliance.app).get("/metrics").text
    assert 'provisioner_machines{state="armed"} 1.0' in text
    assert 'provisioner_machines{state="ready"} 1.0' in text
    assert "node-1" not in text


def test_openapi_lists_every_route_with_its_problem(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len({op["operationId"] for op in operations}) == len(operations) > 40
    assert all(path.startswith(f"{API}/") for path in document["paths"])
    assert "Problem" in json.dumps(document["components"])
