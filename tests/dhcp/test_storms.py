"""Floods, storms and a clock that jumps: who is listed is served, and nothing grows."""

import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.dhcp.lease_file import LeaseFile
from provisioner.dhcp.leases import SECOND, Lease, LeaseState
from provisioner.dhcp.packet import MalformedPacket, decode
from provisioner.dhcp.server import DhcpServer
from provisioner.domain.events import Event, Kind
from tests.netns import wire

from .on_wire import inside, served
from .rack import DISCOVER, MAC, NOW, RACK, STRANGER, Asker
from .test_captures import GOLDEN, capture

root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root")


class Told:
    inventory = RACK

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def sight(self, sighting: object) -> None: ...


@pytest.mark.rule("fault-06")
def test_a_clock_that_is_set_by_a_day_leaves_every_lease_its_time(tmp_path: Path) -> None:
    held = Lease(IPv4Address("10.98.0.200"), MAC, LeaseState.BOUND, NOW + 60 * SECOND)
    file = LeaseFile.open(tmp_path / "leases.db")
    file.write([held])
    wall = steady = 0
    told = Told()
    server = DhcpServer([], told, told, lambda: NOW + wall, lease_file=file, steady=lambda: steady)
    wall, steady = 86_400 * SECOND + SECOND, SECOND
    assert server._moment() == NOW + wall
    assert server.lease_counts() == {"bound": 1}
    server.stop()
    server.run()
    assert [event.kind for event in told.events] == [Kind.SERVICE]
    assert "the clock was set by 86400 s; leases keep the time that they had left" in told.events[0].message
    again = LeaseFile.open(tmp_path / "leases.db")
    # 59 of its 60 seconds are left.
    assert [lease.until - (NOW + wall) for lease in again.load()] == [59 * SECOND]
    again.close()


# Sends packets at about the rate given, until it is killed: junk, or DISCOVERs of random MACs.
FLOOD = """
import os, random, socket, sys, time
kind, rate = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("0.0.0.0", 68))
template = bytes.fromhex(sys.argv[3])
sent, start = 0, time.monotonic()
while True:
    data = os.urandom(300) if kind == "junk" else template[:28] + b"\\x02" + os.urandom(5) + template[34:]
    try:
        s.sendto(data, ("255.255.255.255", 67))
    except OSError:
        pass
    sent += 1
    if sent % 500 == 0:
        time.sleep(max(0, sent / rate - (time.monotonic() - start)))
"""

# Asks so many times with a fresh xid and prints how many milliseconds each OFFER took (a retry each second).
ASKER = """
import os, socket, sys, time
question, count = bytes.fromhex(sys.argv[1]), int(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("0.0.0.0", 68))
for _ in range(count):
    xid, start = os.urandom(4), time.monotonic()
    answered = False
    while not answered and time.monotonic() - start < 5:
        s.sendto(question[:4] + xid + question[8:], ("255.255.255.255", 67))
        until = time.monotonic() + 1
        while not answered and (left := until - time.monotonic()) > 0:
            s.settimeout(left)
            try:
                answered = s.recv(4096)[4:8] == xid
            except TimeoutError:
                break
    print(1000 * (time.monotonic() - start))
"""


@root
@pytest.mark.system
@pytest.mark.rule("dhcp-38")
@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        pytest.param("junk", 50_000, marks=pytest.mark.rule("fault-16"), id="50,000 junk packets a second"),
        pytest.param("macs", 10_000, marks=pytest.mark.rule("fault-17"), id="10,000 random MACs a second"),
    ],
)
def test_a_listed_machine_is_answered_in_a_storm(kind: str, rate: int, tmp_path: Path) -> None:
    with wire("10.98.0.1/24") as on:
        on.plug("node", str(MAC))
        on.plug("storm", str(STRANGER))
        with served(on, "authoritative", str(tmp_path / "leases.db")) as server:
            # What it says is not read here; a full pipe would stop it.
            said = threading.Thread(target=lambda: [None for _ in iter(server.lines.get, None)], daemon=True)
            said.start()
            template = Asker(mac=STRANGER, flags=0x8000).bytes(DISCOVER).hex()
            storm = subprocess.Popen(
                [*on.exec(on.clients["storm"]), sys.executable, "-c", FLOOD, kind, str(rate), template]
            )
            try:
                time.sleep(0.5)
                before = resident(server.process.pid)
                question = Asker(mac=MAC, flags=0x8000).bytes(DISCOVER).hex()
                took = sorted(map(float, inside(on, "node", sys.executable, "-c", ASKER, question, "100").split()))
                after = resident(server.process.pid)
            finally:
                storm.kill()
                storm.wait(10)
                server.lines.put(None)  # type: ignore[arg-type]
                said.join(10)
        assert len(took) == 100
        assert took[98] < 1000, took
        assert after - before < 30, "MiB"


def resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def mutated(seed: int, count: int) -> tuple[int, int]:
    """How many of so many distortions of real packets could be read, and how many could not."""
    chance = random.Random(seed)
    seeds = [capture(file.stem) for file in sorted(GOLDEN.glob("*.hex"))]
    read = refused = 0
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        try:
            decode(bytes(data))
            read += 1
        except MalformedPacket:
            refused += 1
    return read, refused


def test_the_codec_reads_or_refuses_whatever_comes() -> None:
    read, refused = mutated(1, 20_000)
    assert read + refused == 20_000
    assert min(read, refused) > 1000


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_codec_reads_or_refuses_ten_million() -> None:
    with ProcessPoolExecutor(2) as pool:
        totals = list(pool.map(mutated, range(2, 102), [100_000] * 100))
    assert sum(read + refused for read, refused in totals) == 10_000_000
