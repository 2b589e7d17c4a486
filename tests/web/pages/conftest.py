"""The people's app on a real store, with somebody logged in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from provisioner.actions import accounts
from provisioner.web.auth import COOKIE
from provisioner.web.people import create_people_app
from tests.web.appliance import Appliance, make_appliance

NAME, PASSWORD = "olga", "correct horse battery"


@dataclass
class Office:
    """The appliance and a browser at it. ``secret``: the session's cookie."""

    appliance: Appliance
    browser: TestClient
    secret: str

    def stranger(self) -> TestClient:
        return TestClient(self.appliance.app, base_url="http://appliance", follow_redirects=False)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    for appliance in make_appliance(tmp_path, create_people_app):
        now = appliance.clock()
        accounts.add_user(appliance.store, NAME, PASSWORD, actor="test", now=now)
        secret = accounts.login_by_password(appliance.store, NAME, PASSWORD, now)
        browser = TestClient(appliance.app, base_url="http://appliance", follow_redirects=False)
        browser.cookies.set(COOKIE, secret)
        browser.headers["Accept"] = "text/html"
        yield Office(appliance, browser, secret)
