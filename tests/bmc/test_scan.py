"""A scan against a real ``ipmi_sim``, a Redfish service, and neighbours that are no BMCs."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from provisioner.bmc import scan
from provisioner.bmc.pool import WorkerPool
from provisioner.domain.mac import Mac
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc
from tests.bmc.conftest import SERVER, chassis, simulated_bmc
from tests.bmc.https_bmc import Answer, HttpsBmc, microblade, served
from tests.netns import Wire, wire

pytestmark = pytest.mark.system
NET = f"127.{64 + os.getpid() % 128}.{os.getpid() >> 7 & 255}"
"""Loopback addresses of this process alone: BMCs have fixed ports."""
ROOT = {"RedfishVersion": "1.15.0", "Vendor": "HPE", "Product": "ProLiant DL360 Gen11", "Systems": {}}


def redfish_root(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    return Answer(200, json.dumps(ROOT).encode()) if path == "/redfish/v1/" else Answer(404)


@contextmanager
def dns_like(address: str) -> Iterator[None]:
    """Something else at UDP 623 that answers whatever it gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((address, 623))
        service.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with suppress(TimeoutError):
                    data, peer = service.recvfrom(512)
                    service.sendto(b"\x06\x00\xff\x06" + data[::-1], peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def test_a_scan_finds_ipmi_redfish_and_chassis_and_takes_nobody_else_for_a_bmc(tmp_path: Path) -> None:
    pool = WorkerPool(allow_loopback=True)
    with ExitStack() as stack:
        stack.enter_context(simulated_bmc(tmp_path, f"{NET}.5", 623))
        web = stack.enter_context(served(HttpsBmc(redfish_root), tmp_path, port=443, host=f"{NET}.6"))
        login_page = HttpsBmc(lambda *_: Answer(200, b"<html>a switch"))
        stack.enter_context(served(login_page, tmp_path, port=443, host=f"{NET}.7"))
        stack.enter_context(dns_like(f"{NET}.8"))
        chassis = stack.enter_context(served(HttpsBmc(microblade({})), tmp_path, port=443, host=f"{NET}.9"))
        # A server of the same maker has the same form; this one speaks IPMI as well.
        form = b'<title></title><form name="form1" action="/cgi/login.cgi" method="post">'
        server = HttpsBmc(lambda *_: Answer(200, form))
        stack.enter_context(served(server, tmp_path, port=443, host=f"{NET}.5"))
        started = time.monotonic()
        swept = pool.scan([f"{NET}.{n}" for n in range(1, 15)])
        took = time.monotonic() - started
    told = {found.address: (found.protocols, found.vendor, found.model) for found in swept.found}
    assert told == {
        f"{NET}.5": (("ipmi",), "", ""),
        f"{NET}.6": (("redfish",), "HPE", "ProLiant DL360 Gen11"),
        f"{NET}.9": (("cmm",), "Supermicro", "blade chassis"),
    }
    assert [len(found.certificate) for found in swept.found] == [0, 64, 64]
    assert chassis.asked == [("GET", "/redfish/v1/"), ("GET", "/")]
    assert web.asked == [("GET", "/redfish/v1/")]
    assert took < 15


def test_the_rate_is_bounded() -> None:
    """Neighbour tables hold a thousand addresses that do not answer."""
    started = time.monotonic()
    assert scan.sweep([f"{NET}.{n}" for n in range(100, 200)]) == []
    assert time.monotonic() - started >= 100 * scan.BETWEEN


@pytest.mark.rule("threat-05")
def test_its_own_addresses_are_named_and_not_asked() -> None:
    pool = WorkerPool()
    with served_at_home() as asked:
        swept = pool.scan(["127.0.0.1", "169.254.169.254"])
    assert swept.found == ()
    assert [address for address, _ in swept.left_out] == ["127.0.0.1", "169.254.169.254"]
    assert asked == []


@contextmanager
def served_at_home() -> Iterator[list[bytes]]:
    """What arrives at UDP 623 of loopback."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        service.bind(("127.0.0.1", 623))
        service.setblocking(False)
        yield asked
        with suppress(BlockingIOError):
            asked.append(service.recv(512))


@pytest.mark.rule("threat-04")
def test_the_command_finds_lists_and_harvests(tmp_path: Path) -> None:
    with wire("10.97.0.1/24") as plugged:
        away = plugged.plug("bmc", "52:54:00:97:00:05", "10.97.0.5/24")
        bmc = VirtualBmc(
            Nameplate("ACME", "Server 9", "SN-1", SERVER, Mac.parse("52:54:00:aa:bb:07")),
            IPv4Address("10.97.0.5"),
            namespace=away,
            directory=tmp_path / "bmc",
            user="admin",
            password="sesame-of-the-test",
            chassis=chassis(tmp_path)[1],
        )
        bmc.start()
        try:
            bmc.wait(time.monotonic() + 5)
            command = Command(plugged, tmp_path)
            found = command.run("bmc", "scan", "10.97.0.0/29", "--json")
            assert {r["address"]: r["listed"] for r in found["result"] if r["protocols"]} == {"10.97.0.5": "new"}
            words = ("bmc", "scan", "10.97.0.0/29", "--add", "--user", "admin", "--json")
            added = command.run(*words, stdin="sesame-of-the-test\n")
            assert {r["address"]: r["listed"] for r in added["result"] if r["protocols"]} == {"10.97.0.5": "listed"}
            assert any("10.97.0.1' is an address of the appliance itself" in r["said"] for r in added["result"])
            command.run("bmc", "harvest", "--json")
            (listed,) = command.run("machine", "list", "--json")
            assert listed["mac"] == "52:54:00:aa:bb:07"
            command.run("machine", "set", listed["name"], "--rack", "r1", "--json")
            words = ("machine", "power", "on", "--rack", "r1", "--wave", "20", "--every", "5s", "--json")
            switched = command.run(*words)
            assert switched["result"][0]["said"] == "BMC 10.97.0.5: power on, now on"
            again = command.run("job", "resume", switched["job"], "--json")
            assert (again["state"], again["result"]) == ("done", switched["result"])
            assert command.run("bmc", "show", "10.97.0.5", "--json")["power"] == "on"
            calls = (tmp_path / "chassis.calls").read_text().splitlines()
            assert [call for call in calls if call.startswith("set power")] == ["set power 1"]
            backup = tmp_path / "backup.tar"
            command.plain("db", "backup", str(backup), warns="the keys are not in it")
            files = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
            assert tmp_path / "data" / "provisioner.db" in files
            for file in [*files, backup]:
                assert b"sesame-of-the-test" not in file.read_bytes(), file
            assert "sesame-of-the-test" not in "".join(command.printed)
        finally:
            bmc.stop()


class Command:
    """The command line in the server's namespace."""

    def __init__(self, plugged: Wire, folder: Path) -> None:
        self._argv = [*plugged.exec(plugged.server), sys.executable, "-m", "provisioner"]
        self.printed: list[str] = []
        self._env = {**os.environ, "PROVISIONER_DATA_DIR": str(folder / "data")}

    def run(self, *words: str, stdin: str = "") -> Any:
        return json.loads(self.plain(*words, stdin=stdin))

    def plain(self, *words: str, stdin: str = "", warns: str = "") -> str:
        done = subprocess.run(
            [*self._argv, *words],
            input=stdin,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.printed += [done.stdout, done.stderr]
        assert (done.returncode, done.stderr[: len(warns) or None]) == (0, warns)
        return done.stdout
