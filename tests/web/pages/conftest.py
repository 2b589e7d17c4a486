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

NAME = accounts.FIRST_USER


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
    yield from open_office(tmp_path)


def open_office(folder: Path) -> Iterator[Office]:
    """One, in ``folder``."""
    for appliance in make_appliance(folder, create_people_app):
        now = appliance.clock()
        # By link: hashing a password takes longer than the whole test.
        link = accounts.first_login_link(appliance.store, now) or ""
        secret = accounts.login_by_link(appliance.store, link.partition("=")[2], now)
        browser = TestClient(appliance.app, base_url="http://appliance", follow_redirects=False)
        browser.cookies.set(COOKIE, secret)
        browser.headers["Accept"] = "text/html"
        yield Office(appliance, browser, secret)
