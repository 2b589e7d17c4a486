"""Mistakes that only a host and a wire can show: ports taken, no root, no address, a BMC that is not there."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc
from tests.bmc.conftest import chassis
from tests.netns import Wire, sh, wire

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

_HOLD = """
import socket, sys, time
kind, address, port = sys.argv[1:]
sock = socket.socket(socket.AF_INET, getattr(socket, kind))
sock.bind((address, int(port)))
if kind == "SOCK_STREAM":
    sock.listen()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def on() -> Iterator[Wire]:
    with wire() as made:
        yield made


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder whose way everybody may go: pytest's own are closed to others."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def said(on: Wire, folder: Path, *words: str, interface: str = "br0", prefix: tuple[str, ...] = ()) -> str:
    """What the command says when it is refused, without the log's lines above it."""
    done = subprocess.run(
        [*on.exec(on.server), *prefix, sys.executable, "-m", "provisioner", *words],
        env={**os.environ, "PROVISIONER_DATA_DIR": str(folder / "data"), "PROVISIONER_INTERFACE": interface},
        input="secret\n", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


TAKEN = {
    "DHCP": (
        ("packets", "SOCK_DGRAM", "0.0.0.0", 67),
        "provisioner: UDP port 67 on br0 cannot be used: Address already in use; "
        "if another DHCP server runs here, stop it: `ss -lunp sport = :67`",
    ),
    "TFTP": (
        ("packets", "SOCK_DGRAM", "10.98.0.1", 69),
        "provisioner: TFTP port '10.98.0.1:69' cannot be bound (Address already in use); "
        "see who has it: `ss -lunp sport = :69`, and stop that TFTP server",
    ),
    "boot scripts": (
        ("web", "SOCK_STREAM", "10.98.0.1", 80),
        "provisioner: machines.listen 10.98.0.1:80 cannot be listened on (Address already in use); "
        "see who has it: `ss -ltnp sport = :80`, or set machines.listen to another port",
    ),
    "images": (
        ("images", "SOCK_STREAM", "10.98.0.1", 8081),
        "provisioner: images.listen '10.98.0.1:8081' cannot be listened on (Address already in use); "
        "see who has it: `ss -ltnp sport = :8081`, or set images.listen to another port",
    ),
}


@pytest.mark.parametrize(("taken", "sentence"), TAKEN.values(), ids=TAKEN.keys())
def test_a_port_that_is_taken(on: Wire, tmp_path: Path, taken: tuple[str, str, str, int], sentence: str) -> None:
    """And the service ends: whoever started it sees that, and tries again."""
    service, kind, address, port = taken
    argv = [*on.exec(on.server), sys.executable, "-c", _HOLD, kind, address, str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        try:
            assert said(on, tmp_path, "serve", "--only", service) == sentence
        finally:
            holder.kill()


def test_an_interface_without_an_address(on: Wire, tmp_path: Path) -> None:
    sh("ip", "-n", on.server, "link", "add", "bare0", "type", "bridge")
    assert said(on, tmp_path, "serve", interface="bare0") == (
        "provisioner: interface bare0 has no IPv4 address; `ip addr add 10.12.1.2/24 dev bare0` first"
    )


def test_not_root(on: Wire, passable: Path) -> None:
    (passable / "data").mkdir()
    os.chown(passable / "data", 65534, 65534)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert said(on, passable, "serve", "--only", "packets", prefix=nobody) == (
        "provisioner: TFTP port '10.98.0.1:69' cannot be bound (Permission denied); "
        "run as root or give the service CAP_NET_BIND_SERVICE"
    )


def test_a_data_directory_of_somebody_else(on: Wire, passable: Path) -> None:
    (passable / "data").mkdir(mode=0o700)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert said(on, passable, "machine", "list", prefix=nobody) == (
        f"provisioner: data_dir '{passable / 'data'}' cannot be used by this user (Permission denied); "
        "run as its owner or as root: `sudo provisioner …`, or set data_dir in --config"
    )
    assert said(on, passable, "doctor", prefix=nobody) == (
        f"provisioner: data_dir '{passable / 'data'}' cannot be looked into by this user (Permission denied); "
        "run as its owner or as root: `sudo provisioner doctor`"
    )


def test_a_bmc_that_does_not_answer(on: Wire, tmp_path: Path) -> None:
    add = ("bmc", "add", "10.98.0.66", "--user", "admin", "--password-stdin")
    env = {**os.environ, "PROVISIONER_DATA_DIR": str(tmp_path / "data")}
    subprocess.run(
        [*on.exec(on.server), sys.executable, "-m", "provisioner", *add],
        env=env, input="secret\n", text=True, check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    assert said(on, tmp_path, "bmc", "harvest") == (
        "10.98.0.66: BMC 10.98.0.66 port 623 does not answer; "
        "check its address, cable and VLAN, and that IPMI is on"
    )


def test_a_wrong_bmc_password(on: Wire, tmp_path: Path) -> None:
    _, program = chassis(tmp_path)
    plate = Nameplate("ACME", "Server 9", "SN-0042", UUID(int=42), Mac.parse("52:54:00:aa:bb:01"))
    there = on.plug("bmc", "52:54:00:aa:bb:67", "10.98.0.67/24")
    bmc = VirtualBmc(
        plate, IPv4Address("10.98.0.67"), namespace=there, directory=tmp_path / "bmc", user="admin",
        password="another", chassis=program,
    )  # fmt: skip
    bmc.start()
    try:
        bmc.wait(time.monotonic() + 20)
        add = ("bmc", "add", "10.98.0.67", "--user", "admin", "--password-stdin")
        env = {**os.environ, "PROVISIONER_DATA_DIR": str(tmp_path / "data")}
        subprocess.run(
            [*on.exec(on.server), sys.executable, "-m", "provisioner", *add],
            env=env, input="secret\n", text=True, check=True, timeout=120, capture_output=True,
        )  # fmt: skip
        assert said(on, tmp_path, "bmc", "harvest") == (
            "10.98.0.67: BMC 10.98.0.67, user admin: Incorrect password provided; "
            "correct the credential with `provisioner bmc add`; it is not tried again"
        )
    finally:
        bmc.stop()
