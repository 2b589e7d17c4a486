"""The database is away: a person reads so, a program gets a problem document, and both are told to come again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from provisioner.web import auth
from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, Appliance, make_appliance

HTML = {"Accept": "text/html"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[tuple[Appliance, TestClient]]:
    for made in make_appliance(tmp_path, create_people_app):
        made.user()
        made.add("node-1", MAC, IP)
        made.snapshot.inventory  # noqa: B018 - the last that this process saw
        yield made, TestClient(made.app, base_url="http://testserver", cookies={auth.COOKIE: "some session"})


def test_a_person_reads_that_the_database_is_away(client: tuple[Appliance, TestClient]) -> None:
    appliance, browser = client
    appliance.snapshot.hold()
    appliance.store.away = True
    answer = browser.get("/machines/node-1?x=1", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert (answer.headers["retry-after"], answer.headers["refresh"]) == ("5", "5")
    assert "The database is away" in answer.text
    assert 'href="/machines/node-1?x=1"' in answer.text
    assert "<td>1</td>" in answer.text
    # Who asks cannot be told: no names of machines beside the address that was asked for.
    assert "node-1" not in answer.text.replace("/machines/node-1?x=1", "")
    assert answer.headers["content-security-policy"]


def test_a_program_gets_a_problem_document(client: tuple[Appliance, TestClient]) -> None:
    appliance, browser = client
    appliance.store.away = True
    for headers in ({"Accept": "application/json"}, HTML | {"HX-Request": "true"}):
        answer = browser.get("/", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert browser.post("/act", headers=HTML).status_code == 503
