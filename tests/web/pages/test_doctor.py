"""The doctor's findings on the page: all of them on their own, problems above the machines too."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from provisioner.doctor.checkup import Checkup
from provisioner.doctor.findings import Finding, ok, problem
from provisioner.web.auth import COOKIE
from provisioner.web.people import create_people_app
from tests.web.pages.conftest import Office

ROGUE = problem("other-dhcp", "another DHCP server answers on eth1: 10.12.1.9", "stop it <now>: `ss -lnp`")


@pytest.fixture
def browser(office: Office) -> Iterator[TestClient]:
    def examine(deep: bool) -> list[Finding]:
        return [ok("wire", "interface eth1 is up"), *([ROGUE] if deep else [])]

    parts = replace(office.appliance.parts, checkup=Checkup(examine, office.appliance.clock))
    client = TestClient(create_people_app(parts), base_url="http://appliance", follow_redirects=False)
    client.cookies.set(COOKIE, office.secret)
    client.headers["Accept"] = "text/html"
    yield client


def csrf(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def test_an_examination_shows_on_its_page_and_above_the_machines(browser: TestClient) -> None:
    before = browser.get("/doctor").text
    assert "Nothing was looked at yet." in before
    assert "another DHCP server" not in browser.get("/").text.lower()
    done = browser.post("/doctor", data={"csrf": csrf(before)}, headers={"Origin": "http://appliance"})
    assert (done.status_code, done.headers["location"]) == (303, "/doctor")
    after = browser.get("/doctor").text
    assert "problem: other-dhcp" in after
    assert "Another DHCP server answers on eth1: 10.12.1.9." in after
    assert "Stop it &lt;now&gt;: <code>ss -lnp</code>" in after
    assert after.index("problem: other-dhcp") < after.index("ok: wire")
    assert "Another DHCP server answers on eth1: 10.12.1.9." in browser.get("/").text


def test_a_request_from_another_site_starts_no_examination(browser: TestClient) -> None:
    done = browser.post("/doctor", data={"csrf": "guessed"}, headers={"Origin": "http://evil.example"})
    assert done.status_code == 403
    assert "Nothing was looked at yet." in browser.get("/doctor").text


def test_nobody_unknown_sees_the_findings(office: Office) -> None:
    assert office.stranger().get("/doctor", headers={"Accept": "text/html"}).status_code in (303, 401)
