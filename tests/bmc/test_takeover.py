"""The bmc service killed in the middle of its jobs (kill -9): another goes on, nobody is asked by two or twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.actions import enrol, logins, power
from provisioner.actions.bmcs import add_bmc
from provisioner.domain.mac import Mac
from provisioner.domain.records import Job
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc
from provisioner.settings import load
from provisioner.wiring import House, clock
from tests.netns import Wire, sh, wire

pytestmark = [pytest.mark.system, pytest.mark.rule("fault-08")]
SPEAKING = [f"10.97.0.{n}" for n in range(11, 15)]
SILENT = [f"10.97.0.{n}" for n in range(21, 27)]
ENDED = ("done", "partly", "failed")
PASSWORD = "sesame-of-the-test"
EAR = """
import selectors, socket, sys, time
selector = selectors.DefaultSelector()
for address in sys.argv[1:]:
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind((address, 623))
    selector.register(door, selectors.EVENT_READ, address)
while True:
    for key, _ in selector.select():
        data, peer = key.fileobj.recvfrom(512)
        print(key.data, peer[1], time.monotonic(), flush=True)
"""
"""Takes questions at these addresses and never answers; writes down who asked whom, and when."""
CHASSIS = """#!/bin/sh
echo "$*" >> {calls}
case "$1 $2" in
    "get power") echo "power:$(cat {state})";;
    "set power") echo "$3" > {state};;
esac
"""


class Rig:
    """Four BMCs, six silent addresses, an appliance's data, and its bmc service in the server's namespace."""

    def __init__(self, plugged: Wire, folder: Path, house: House) -> None:
        self.house = house
        self._plugged = plugged
        self._folder = folder
        self.bmcs = plugged.plug("bmcs", "52:54:00:97:00:05", f"{SPEAKING[0]}/24")
        for address in [*SPEAKING[1:], *SILENT]:
            sh("ip", "-n", self.bmcs, "addr", "add", f"{address}/24", "dev", "eth0")

    @contextmanager
    def speaking(self) -> Iterator[None]:
        with ExitStack() as stack:
            for n, address in enumerate(SPEAKING):
                mine = self._folder / address
                mine.mkdir()
                (mine / "state").write_text("1\n")
                program = mine / "chassis"
                program.write_text(CHASSIS.format(calls=mine / "calls", state=mine / "state"))
                program.chmod(0o755)
                bmc = VirtualBmc(
                    Nameplate("ACME", "Server 9", f"SN-{n}", UUID(int=n + 1 << 100), mac(n)),
                    IPv4Address(address),
                    namespace=self.bmcs,
                    directory=mine / "bmc",
                    user="admin",
                    password=PASSWORD,
                    chassis=program,
                )
                stack.callback(bmc.stop)
                bmc.start()
                bmc.wait(time.monotonic() + 20)
            yield

    @contextmanager
    def silent(self) -> Iterator[Callable[[], list[tuple[str, int, float]]]]:
        """Who was asked, by which port, when (monotonic seconds)."""
        log = self._folder / "asked"
        with log.open("wb") as output:
            argv = [*self._plugged.exec(self.bmcs), sys.executable, "-c", EAR, *SILENT]
            ear = subprocess.Popen(argv, stdout=output)
        try:
            yield lambda: [(a, int(p), float(t)) for a, p, t in map(str.split, log.read_text().splitlines())]
        finally:
            ear.kill()
            ear.wait()

    @contextmanager
    def service(self) -> Iterator[subprocess.Popen[bytes]]:
        argv = [*self._plugged.exec(self._plugged.server), sys.executable, "-m", "provisioner"]
        env = {**os.environ, "PROVISIONER_DATA_DIR": str(self.house.settings.data_dir)}
        process = subprocess.Popen([*argv, "serve", "--only", "bmc"], env=env, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def killed(self, service: subprocess.Popen[bytes]) -> None:
        """Nothing of it goes on: its workers end with it."""
        service.send_signal(signal.SIGKILL)
        service.wait()
        eventually(lambda: not sh("ip", "netns", "pids", self._plugged.server).stdout.split())

    def job(self, job: Job) -> Job:
        with self.house.store.reading() as tx:
            return tx.jobs.get(str(job.id))

    def lease_runs_out(self, job: Job) -> Job:
        """Two minutes later, as far as the database knows."""
        with self.house.store.transaction("test") as tx:
            left = tx.jobs.get(str(job.id))
            assert left.state == "running"
            for bmc in tx.bmcs.list():
                for each in tx.login_tries.at(bmc.id).values():
                    tx.login_tries.put(replace(each, at=each.at - logins.UNKNOWN))
            return tx.jobs.put(replace(left, lease_until=clock() - 1))


def mac(n: int) -> Mac:
    return Mac.parse(f"52:54:00:aa:bb:{n:02x}")


def eventually(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with wire("10.97.0.1/24") as plugged, House.open(load(None, data_dir=tmp_path / "data")) as house:
        fields = {"prefix": "10.97.0.0/24", "user": "admin", "password": PASSWORD}
        logins.put_login(house.store, fields, actor="test", now=clock())
        yield Rig(plugged, tmp_path, house)


def test_a_harvest_goes_on_once_and_no_bmc_is_asked_by_two(rig: Rig) -> None:
    store = rig.house.store
    for address in SPEAKING + SILENT:
        add_bmc(store, {"address": address}, actor="test", now=clock())
    with rig.speaking(), rig.silent() as asked:
        job = power.enqueue_harvest(store, actor="test", now=clock())
        with rig.service() as service:
            eventually(lambda: rig.job(job).done >= 1 and len(asked()) >= len(SILENT))
            rig.killed(service)
        died = rig.lease_runs_out(job)
        assert died.done < died.total
        # Two services start at once; one of them takes the job.
        with rig.service(), rig.service():
            eventually(lambda: rig.job(job).state in ENDED)
        log = asked()
    done = rig.job(job)
    assert (done.state, done.done) == ("partly", len(SPEAKING + SILENT))
    assert died.result.items() <= done.result.items()
    told = {result["name"]: result["ok"] for result in done.result.values()}
    assert [address for address in SILENT if told[address]] == []
    for address in SILENT:
        # A conversation has a port of its own: one before the kill, one after it, never both at once.
        times: dict[int, list[float]] = {}
        for _, port, at in (each for each in log if each[0] == address):
            times.setdefault(port, []).append(at)
        assert len(times) == 2, (address, times)
        spans = sorted((min(each), max(each)) for each in times.values())
        assert all(ended < begun for (_, ended), (begun, _) in pairwise(spans))
    with store.reading() as tx:
        events = tx.events.list(limit=1000)
        machines = tx.machines.list()
    assert sorted(str(each.boot_mac) for each in machines) == [str(mac(n)) for n in range(len(SPEAKING))]
    assert sum(1 for event in events if event.kind == "bmc.harvest") == len(SPEAKING)


def test_a_power_cycle_is_not_done_again_to_whom_it_was_begun(rig: Rig, tmp_path: Path) -> None:
    store = rig.house.store
    for n, address in enumerate(SPEAKING):
        add_bmc(store, {"address": address}, actor="test", now=clock())
        fields = {"name": f"n{n}", "mac": str(mac(n)), "bmc": address, "rack": "r1", "unit": n + 1}
        enrol.add_machine(store, fields, actor="test", now=clock())

    def switched(address: str) -> list[str]:
        calls = tmp_path / address / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if line.startswith("set power")]

    with rig.speaking():
        job = power.enqueue(store, [], "cycle", rack="r1", wave=2, actor="test", now=clock())
        with rig.service() as service:
            eventually(lambda: all(switched(address) for address in SPEAKING[:2]))
            rig.killed(service)
        before = [switched(address) for address in SPEAKING]
        rig.lease_runs_out(job)
        with rig.service(), rig.service():
            eventually(lambda: rig.job(job).state in ENDED)
        after = [switched(address) for address in SPEAKING]
    told = [result["said"] for result in rig.job(job).result.values()]
    assert before[2:] == [[], []]
    # Whoever was under way is left as it was, and named; the others are cycled, once.
    assert after == [*before[:2], ["set power 0", "set power 1"], ["set power 0", "set power 1"]]
    assert ["is not switched again" in said for said in told] == [True, True, False, False]
