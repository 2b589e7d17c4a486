"""The whole appliance killed while it gives out leases: what was acknowledged is there after, and given once."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provisioner.dhcp.lease_file import LeaseFile
from tests.netns import Wire, sh, wire

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
    pytest.mark.skipif(shutil.which("perfdhcp") is None, reason="Debian's kea-admin has perfdhcp"),
]

PROGRAM = str(Path(sys.executable).parent / "provisioner")
CLIENTS = 3000

# Prints address and MAC of every DHCPACK that comes in; after SIGTERM what is still queued, then it ends.
LISTENER = """
import signal, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
s.bind(("eth0", 0x0800))
s.settimeout(0.2)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append("end"))
print("ready", flush=True)
while True:
    try:
        packet, where = s.recvfrom(4096)
    except TimeoutError:
        if told:
            break
        continue
    message = packet[28:]
    if where[2] != socket.PACKET_OUTGOING and message[:1] == b"\\2" and message[240:243] == b"\\x35\\1\\5":
        print(message[16:20].hex(), message[28:34].hex())
"""


def perfdhcp(on: Wire, *more: str) -> list[str]:
    asks = ["perfdhcp", "-4", "-l", "eth0", "-R", str(CLIENTS), "-b", "mac=00:0c:01:00:00:00", *more, on.address]
    return [*on.exec(on.clients["clients"]), *asks]


def wait_until_served(on: Wire, said: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        told = sh(*perfdhcp(on, "-r", "10", "-p", "1"), check=False, timeout=60).stdout
        if any(int(number) for number in re.findall(r"received packets: (\d+)", told)):
            return
    raise AssertionError(f"not served; it said:\n{said.read_text()[-3000:]}")


def kill_everything(on: Wire, started: subprocess.Popen[bytes]) -> None:
    """All that runs in the server's namespace is the appliance's, whichever session it is in."""
    for pid in sh("ip", "netns", "pids", on.server).stdout.split():
        sh("kill", "-9", pid, check=False)
    started.wait(20)


def killed(on: Wire, work: Path, times: int) -> int:
    """Kill the appliance so often under load; returns how many leases it had acknowledged."""
    config, said, chance = work / "provisioner.toml", work / "said", random.Random(9)
    config.write_text(
        f'data_dir = "{work / "data"}"\ninterface = "br0"\naddress = "{on.address}"\n'
        "[dhcp]\nnewcomers_per_second = 100000\nunlisted_per_second = 100000\nprobe_seconds = 0\n"
    )
    pool = ["--unknown", "address", "--pool", "10.98.16.0-10.98.63.255"]
    sh(PROGRAM, "subnet", "add", "10.98.0.0/16", *pool, "--config", str(config), timeout=60)
    holders: dict[str, str] = {}
    total = 0
    serve = [*on.exec(on.server), PROGRAM, "serve", "--config", str(config)]
    for _ in range(times):
        with said.open("wb") as output:
            appliance = subprocess.Popen(serve, stdout=output, stderr=output, start_new_session=True)
        try:
            wait_until_served(on, said)
            listening = [*on.exec(on.clients["clients"]), sys.executable, "-c", LISTENER]
            with subprocess.Popen(listening, stdout=subprocess.PIPE, text=True) as listener:
                assert listener.stdout
                assert listener.stdout.readline() == "ready\n"
                load = subprocess.Popen(perfdhcp(on, "-r", "500", "-p", "30"), stdout=subprocess.DEVNULL)
                try:
                    time.sleep(1 + 2 * chance.random())
                    kill_everything(on, appliance)
                finally:
                    load.kill()
                    load.wait(10)
                    listener.terminate()
                heard, _ = listener.communicate(timeout=30)
        finally:
            kill_everything(on, appliance)
        acknowledged = [line.split() for line in heard.splitlines()]
        for address, mac in acknowledged:
            assert holders.setdefault(address, mac) == mac, "one address, two clients"
        total += len(acknowledged)
        file = LeaseFile.open(work / "data" / "leases.db")
        stored = {lease.address.packed.hex(): lease.mac.hex() for lease in file.load()}
        file.close()
        lost = {address: mac for address, mac in holders.items() if stored.get(address) != mac}
        assert not lost, f"{len(lost)} of {len(holders)} leases were lost"
    assert len(set(holders.values())) == len(holders), "each client keeps its address through the restarts"
    return total


def kill_series(work: Path, times: int) -> int:
    with wire("10.98.0.1/16") as on:
        on.plug("clients", "02:00:00:98:00:01", "10.98.0.2/16")
        return killed(on, work, times)


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.rule("fault-01")
def test_no_lease_is_lost_or_given_twice_when_the_appliance_is_killed(tmp_path: Path) -> None:
    assert kill_series(tmp_path, 2) > 100


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.rule("fault-01")
def test_no_lease_is_lost_or_given_twice_in_twenty_kills(tmp_path: Path) -> None:
    assert kill_series(tmp_path, 20) > 1000
