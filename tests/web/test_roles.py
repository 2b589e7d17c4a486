"""Roles over the API: what is there, what an edit would change, and putting it in force."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, Appliance, make_appliance

ROLES = "/api/v1/roles"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path, create_people_app):
        made.user()
        made.add("node-1", MAC, IP)
        yield made


def test_an_edited_role_is_planned_and_activated(appliance: Appliance, api: TestClient, tmp_path: Path) -> None:
    listed = {role["name"]: role for role in api.get(ROLES).json()["items"]}
    assert (listed["simple"]["machines"], listed["simple"]["proof"], listed["simple"]["follows_folder"]) == (
        1,
        "ran",
        True,
    )
    unchanged = api.get(f"{ROLES}/simple/plan").json()
    assert [machine["files"] for machine in unchanged["machines"]] == [[]]
    assert api.post(f"{ROLES}/simple/activate", json={"plan": unchanged["hash"]}).status_code == 200

    appliance.clock.advance(60)
    config = tmp_path / "roles" / "simple" / "config.yml.j2"
    config.write_text(config.read_text().replace("{{ machine.name|yaml }}", "{{ (machine.name ~ 'x')|yaml }}"))
    shown = api.get(f"{ROLES}/simple").json()
    assert shown["revision"] != shown["draft"]
    assert not shown["follows_folder"]
    plan = api.get(f"{ROLES}/simple/plan").json()
    (machine,) = plan["machines"]
    assert (machine["name"], [file["name"] for file in machine["files"]]) == ("node-1", ["config.yml"])
    assert '+hostname: "node-1x"' in machine["files"][0]["diff"]

    stale = api.post(f"{ROLES}/simple/activate", json={"plan": unchanged["hash"]})
    assert (stale.status_code, "look at it again" in stale.text) == (412, True)
    assert api.post(f"{ROLES}/simple/activate", json={"plan": plan["hash"]}).json()["revision"] == shown["draft"]
    kept = api.get(f"{ROLES}/simple/revisions").json()["items"]
    assert [(row["number"], row["active"]) for row in kept] == [(1, False), (2, True)]
    assert kept[1]["revision"] == shown["draft"]
    assert api.post(f"{ROLES}/simple/follow").status_code == 200
    assert api.get(f"{ROLES}/simple").json()["follows_folder"]
    events = [event["message"] for event in api.get("/api/v1/events").json()["items"]]
    assert any("is active; its output differs for 1 of 1 machines" in message for message in events)


def test_a_role_whose_file_is_broken_is_listed_with_its_fault(api: TestClient, tmp_path: Path) -> None:
    (tmp_path / "roles" / "worker" / "role.yaml").write_text("descripton: x\n")
    listed = {role["name"]: role for role in api.get(ROLES).json()["items"]}
    assert "worker/role.yaml:1: descripton: unknown key; did you mean 'description'" in listed["worker"]["fault"]
    assert api.get(f"{ROLES}/nothing").status_code == 404


def test_a_roles_dhcp_options_are_part_of_the_plan(api: TestClient, tmp_path: Path) -> None:
    held = api.get(f"{ROLES}/simple/plan").json()
    api.post(f"{ROLES}/simple/activate", json={"plan": held["hash"]})
    settings = tmp_path / "roles" / "simple" / "role.yaml"
    settings.write_text(settings.read_text() + "\ndhcp:\n  mtu: 9000\n")
    plan = api.get(f"{ROLES}/simple/plan").json()
    (machine,) = plan["machines"]
    assert plan["hash"] != held["hash"]
    assert {file["name"]: file["diff"] for file in machine["files"]}["DHCP options"].endswith("+mtu=9000\n")
