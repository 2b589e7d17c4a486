"""Requests made up from the OpenAPI document: whatever is sent, the answer is one that the document knows."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from starlette.testclient import TestClient

from provisioner.actions import accounts
from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, Appliance, make_appliance


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path, create_people_app):
        made.user()
        made.add("node-1", MAC, IP)
        yield made


@pytest.mark.system
@pytest.mark.timeout(600)
def test_made_up_requests_never_break_it(appliance: Appliance) -> None:
    _, secret = accounts.create_token(appliance.store, "ada", "ci", actor="test", now=appliance.clock())
    client = TestClient(appliance.app, headers={"Authorization": f"Bearer {secret}"}, raise_server_exceptions=False)
    document = client.get("/openapi.json").json()
    # An endless answer; test_live reads it.
    del document["paths"]["/api/v1/stream"]
    schema = schemathesis.openapi.from_dict(document)
    seen: Counter[int] = Counter()
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def sends(case: schemathesis.Case) -> None:
            if "ci" in (case.path_parameters or {}).values():
                return
            arguments = case.as_transport_kwargs(base_url="http://testserver")
            arguments.pop("cookies", None)
            if "data" in arguments:
                arguments["content"] = arguments.pop("data")
            answer = client.request(**arguments)
            seen[answer.status_code] += 1
            assert answer.status_code < 500, (case.method, case.path, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", answer.text

        sends()
        tried += 1
    assert tried > 40
    # Made-up requests that only ever bounce off the door would prove little.
    assert {200, 404, 422} <= set(seen), seen
