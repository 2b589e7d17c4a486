"""Real BMCs for the tests: ``ipmi_sim`` and sockets that misbehave, in namespaces of their own."""

import json
import secrets
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from provisioner.domain.bmc import Bmc, Login
from provisioner.domain.mac import Mac
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc

SERVER = UUID("8f2c1d3e-9a4b-4c6d-9e1f-0a2b3c7d8e9f")
CHASSIS = """#!{python} -IS
import json, sys
from pathlib import Path
file = Path({state!r})
state = json.loads(file.read_text())
verb, *words = sys.argv[1:]
with file.with_suffix(".calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if verb == "get":
    for word in words:
        print(f"{{word}}:{{state[word]}}")
elif verb == "set":
    state[words[0]] = words[1]
    file.write_text(json.dumps(state))
"""


@dataclass
class SimulatedBmc:
    """An ``ipmi_sim`` on loopback whose chassis is a file."""

    bmc: Bmc
    login: Login
    plate: Nameplate
    state_file: Path

    @property
    def state(self) -> dict[str, str]:
        return json.loads(self.state_file.read_text())

    @property
    def calls(self) -> list[str]:
        file = self.state_file.with_suffix(".calls")
        return file.read_text().splitlines() if file.exists() else []

    def ipmitool(self, *words: str) -> str:
        done = subprocess.run(
            [
                *("ipmitool", "-I", "lanplus", "-C", "3", "-H", self.bmc.address, "-p", str(self.bmc.port)),
                *("-U", self.login.user, "-P", self.login.password, *words),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chassis(folder: Path) -> tuple[Path, Path]:
    """The file that is the server's power and boot device, and the program that ``ipmi_sim`` asks."""
    state = folder / "chassis.json"
    state.write_text(json.dumps({"power": "0", "boot": "none"}))
    program = folder / "chassis"
    program.write_text(CHASSIS.format(python=sys.executable, state=str(state)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return state, program


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[SimulatedBmc]:
    with simulated_bmc(tmp_path) as made:
        yield made


@contextmanager
def simulated_bmc(
    tmp_path: Path, address: str = "127.0.0.1", port: int = 0, serial: str = "", sensors: str = ""
) -> Iterator[SimulatedBmc]:
    """At a loopback address; port 0: a free one. ``serial``: what its console shows. ``sensors``: see ``sdr``."""
    state, program = chassis(tmp_path)
    plate = Nameplate("ACME", "Server 9", "SN-0042", SERVER, Mac.parse("52:54:00:aa:bb:01"))
    login = Login("admin", secrets.token_hex(8))
    port = port or free_port()
    bmc = VirtualBmc(
        plate,
        IPv4Address(address),
        port=port,
        namespace=None,
        directory=tmp_path / "bmc",
        user=login.user,
        password=login.password,
        chassis=program,
        serial=serial,
        sensors=sensors,
    )
    bmc.start()
    try:
        bmc.wait(time.monotonic() + 5)
        yield SimulatedBmc(Bmc(uuid4(), address, port), login, plate, state)
    finally:
        bmc.stop()


@contextmanager
def udp_service(answer: Callable[[bytes], bytes | None]) -> Iterator[Bmc]:
    """A UDP socket on loopback that answers as told; None is silence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 0))
        service.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with suppress(TimeoutError, ConnectionError):
                    data, peer = service.recvfrom(2048)
                    if (said := answer(data)) is not None:
                        service.sendto(said, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Bmc(uuid4(), "127.0.0.1", service.getsockname()[1])
        finally:
            done.set()
            thread.join()
