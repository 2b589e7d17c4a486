"""Both apps behind a real server on loopback: what only a socket shows."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from provisioner.actions import accounts
from provisioner.web.api import events
from provisioner.web.machines import create_machines_app
from provisioner.web.people import create_people_app
from tests.web.appliance import MAC, Appliance, make_appliance


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(16)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", proxy_headers=False, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()
    assert not thread.is_alive()


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    yield from make_appliance(tmp_path, create_people_app)


def test_a_machine_over_a_socket(appliance: Appliance) -> None:
    appliance.add("node-1", MAC, "127.0.0.1")
    appliance.arm("node-1")
    with served(create_machines_app(appliance.parts)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        script = client.get(f"/boot.ipxe?mac={MAC}")
        # The address that the machine reached, without the port.
        assert "http://127.0.0.1:8081/k" in script.text
        assert int(script.headers["content-length"]) == len(script.content)
        dates = script.headers.get_list("date")
        assert len(dates) == 1
        assert abs((datetime.now(UTC) - parsedate_to_datetime(dates[0])).total_seconds()) < 5
        forged = {"X-Forwarded-For": "10.0.0.1"}
        assert client.get(f"/b/{appliance.token('node-1')}/install.sh", headers=forged).status_code == 200
        assert client.get("/healthz").text == "ok\n"
        loader = client.head("/loaders/snponly.efi")
        assert (loader.headers["content-length"], loader.http_version) == ("5002", "HTTP/1.1")


class Reader:
    """Reads a stream of events until a deadline."""

    def __init__(self, url: str, secret: str, last: int | None = None) -> None:
        headers = {"Authorization": f"Bearer {secret}"} | ({"Last-Event-ID": str(last)} if last else {})
        self._client = httpx.Client(timeout=5, trust_env=False)
        self._response = self._client.send(
            self._client.build_request("GET", f"{url}/api/v1/stream", headers=headers), stream=True
        )
        assert self._response.status_code == 200
        assert self._response.headers["content-type"].startswith("text/event-stream")
        self._lines = self._response.iter_lines()
        assert next(self._lines).startswith(":")

    def take(self, count: int) -> list[tuple[int, dict[str, Any]]]:
        taken: list[tuple[int, dict[str, Any]]] = []
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line and "data" in fields:
                taken.append((int(fields["id"]), json.loads(fields["data"])))
                fields = {}
                if len(taken) == count:
                    return taken
        raise AssertionError(f"the stream ended after {len(taken)} events")

    def close(self) -> None:
        self._response.close()
        self._client.close()


@pytest.mark.parametrize("ends", ["revoked", "removed", "expired"])
def test_a_stream_ends_with_the_token_that_opened_it(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(events, "TRUSTED", 0.1)
    for name in ("ada", "bob"):
        appliance.user(name)
    who = {"actor": "test", "now": appliance.clock()}
    _, secret = accounts.create_token(appliance.store, "ada", "ci", **who, days=1)
    with served(appliance.app) as url:
        reader = Reader(url, secret)
        if ends == "revoked":
            accounts.revoke_token(appliance.store, "ci", **who)
        elif ends == "removed":
            accounts.remove_user(appliance.store, "ada", **who)
        else:
            appliance.clock.advance(86_401)
        with pytest.raises(AssertionError, match="the stream ended"):
            reader.take(1000)
        reader.close()


def test_the_stream_tells_at_once_and_resumes(appliance: Appliance) -> None:
    appliance.user()
    _, secret = accounts.create_token(appliance.store, "ada", "ci", actor="test", now=appliance.clock())
    with served(appliance.app) as url:
        reader = Reader(url, secret)
        # The position is taken when the stream opens: what happened before is not told again.
        time.sleep(0.3)
        began = time.monotonic()
        appliance.add("node-1", MAC, "10.12.1.1")
        (first,) = reader.take(1)
        assert time.monotonic() - began < 5
        assert "node-1" in first[1]["message"]
        assert first[0] == first[1]["id"]
        reader.close()
        appliance.arm("node-1")
        reader = Reader(url, secret, first[0])
        (second,) = reader.take(1)
        assert (second[0], second[1]["data"]["to"]) == (first[0] + 1, "armed")
        reader.close()
