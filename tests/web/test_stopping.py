"""A web service that is told to stop while pages and programs listen: it ends at once, and without a word."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from provisioner.actions import accounts
from provisioner.settings import load
from provisioner.wiring import House, clock

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A bearer token of a new appliance."""
    with House.open(load(None, data_dir=tmp_path / "data")) as house:
        link = accounts.first_login_link(house.store, clock()) or ""
        accounts.login_by_link(house.store, link.partition("=")[2], clock())
        made = accounts.create_token(house.store, accounts.FIRST_USER, "reader", actor="test", now=clock())
    return made[1]


@contextmanager
def web(folder: Path, people: socket.socket, machines: socket.socket) -> Iterator[subprocess.Popen[str]]:
    fds = [people.fileno(), machines.fileno()]
    env = os.environ | {
        "PROVISIONER_DATA_DIR": str(folder / "data"),
        "PROVISIONER_INTERFACE": "lo",
        "PROVISIONER_ADDRESS": "127.0.0.1",
        "PROVISIONER_PEOPLE__LISTEN": f"fd:{fds[0]}",
        "PROVISIONER_MACHINES__LISTEN": f"fd:{fds[1]}",
    }
    argv = [sys.executable, "-m", "provisioner", "serve", "--only", "web"]
    with subprocess.Popen(
        argv, env=env, pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def listening(stack: ExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket())
    made.bind(("127.0.0.1", 0))
    made.listen(16)
    return made


def test_it_ends_at_once_although_streams_are_open(secret: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        people, machines = listening(stack), listening(stack)
        process = stack.enter_context(web(tmp_path, people, machines))
        streams = []
        for address in ("/stream/rows", "/api/v1/stream"):
            connection = http.client.HTTPConnection(*people.getsockname(), timeout=60)
            stack.callback(connection.close)
            connection.request("GET", address, headers={"Authorization": f"Bearer {secret}"})
            streams.append(connection.getresponse())
        assert [stream.readline() for stream in streams] == [b": connected\n"] * 2
        process.send_signal(signal.SIGTERM)
        for stream in streams:
            # To its end, which is one that a client understands: a cut would raise IncompleteRead.
            stream.read()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "ERROR" not in said
