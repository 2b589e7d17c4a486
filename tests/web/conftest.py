"""What most API tests begin with: an appliance with one account, and a script's client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from provisioner.actions import accounts
from provisioner.web.people import create_people_app
from tests.web.appliance import Appliance, make_appliance


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path, create_people_app):
        made.user()
        yield made


@pytest.fixture
def api(appliance: Appliance) -> TestClient:
    _, secret = accounts.create_token(appliance.store, "ada", "ci", actor="test", now=appliance.clock())
    return TestClient(appliance.app, headers={"Authorization": f"Bearer {secret}"})
