"""What a service manager hears: READY=1 once a service answers, and never from one that cannot."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns import Wire, wire

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SERVED = {"packets": ("udp", (67, 69)), "web": ("tcp", (80, 8080)), "images": ("tcp", (8081,)), "bmc": ("tcp", ())}


@pytest.fixture(scope="module")
def on() -> Iterator[Wire]:
    with wire() as made:
        yield made


@contextmanager
def manager(name: str) -> Iterator[socket.socket]:
    """The end of NOTIFY_SOCKET that systemd holds; ``name`` with @ is one in no file system, as in a container."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        held.bind("\0" + name[1:] if name.startswith("@") else name)
        held.settimeout(90)
        yield held


@contextmanager
def service(on: Wire, name: str, folder: Path, notify: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "PROVISIONER_DATA_DIR": str(folder / "data"), "PROVISIONER_INTERFACE": "br0"}
    only = ["--only", name] if name else []
    argv = [*on.exec(on.server), sys.executable, "-m", "provisioner", "serve", *only]
    with subprocess.Popen(
        argv, env={**env, "NOTIFY_SOCKET": notify}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.parametrize("name", SERVED)
def test_ready_is_said_when_every_port_is_served(on: Wire, name: str, tmp_path: Path) -> None:
    protocol, ports = SERVED[name]
    with (
        manager(str(tmp_path / "notify")) as told,
        service(on, name, tmp_path, str(tmp_path / "notify")) as process,
    ):
        assert told.recv(100) == b"READY=1"
        table = Path(f"/proc/{process.pid}/net/{protocol}").read_text()
        assert [port for port in ports if f":{port:04X} " not in table] == []


def test_all_services_together_are_ready_when_the_last_one_is(on: Wire, tmp_path: Path) -> None:
    with manager(str(tmp_path / "notify")) as told, service(on, "", tmp_path, str(tmp_path / "notify")) as process:
        assert told.recv(100) == b"READY=1"
        for protocol, ports in SERVED.values():
            table = Path(f"/proc/{process.pid}/net/{protocol}").read_text()
            assert [port for port in ports if f":{port:04X} " not in table] == []
        # Ctrl-C: the whole group hears it at once.
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1].decode()
        assert "ready: every service answers" in said
        assert "Traceback" not in said
        told.settimeout(0)
        with pytest.raises(BlockingIOError):
            told.recv(100)


def test_a_manager_without_a_file_is_told_too(on: Wire, tmp_path: Path) -> None:
    name = f"@provisioner-test-{os.getpid()}"
    # A name that is in no file system belongs to the network namespace: this one is the test's own.
    with manager(name) as told:
        code = "from provisioner.readiness import tell_ready; tell_ready()"
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "NOTIFY_SOCKET": name}, check=True, timeout=60
        )
        assert told.recv(100) == b"READY=1"


def test_a_service_that_cannot_serve_says_nothing(on: Wire, tmp_path: Path) -> None:
    with manager(str(tmp_path / "notify")) as told, service(on, "images", tmp_path, str(tmp_path / "notify")):
        assert told.recv(100) == b"READY=1"
        with service(on, "images", tmp_path, str(tmp_path / "notify")) as second:
            assert second.wait(60) == 1
        told.settimeout(0)
        with pytest.raises(BlockingIOError):
            told.recv(100)


@pytest.mark.parametrize("address", ["", "/nowhere/notify"], ids=["nobody asks", "the manager is gone"])
def test_without_a_manager_it_goes_on(address: str) -> None:
    code = "from provisioner.readiness import tell_ready; tell_ready(); print('serves')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NOTIFY_SOCKET": address}, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "serves\n"
