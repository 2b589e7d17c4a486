"""300 BMCs harvested while DHCP is asked: wall time, memory, and what it does to DHCP. `make bench-bmc`.

`python -m tests.bench.bmc [--bmcs N]`. Of 300 BMCs, 280 are ``ipmi_sim`` (Debian openipmi) at addresses of their
own in a network namespace, ten of them with another password; 20 are sockets that take packets and never answer.
The appliance is in a second namespace: its packets service, asked by perfdhcp at 100 exchanges a second, and
`bmc harvest` as an operator types it. All of it shares this machine's processors, the BMCs and perfdhcp too.
"""

import json
import os
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

from provisioner.actions.bmcs import add_bmc
from provisioner.actions.logins import put_login
from provisioner.domain.mac import Mac
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc
from provisioner.settings import load
from provisioner.wiring import House, clock
from tests.bench.dhcp import delays, perfdhcp, say, wait_until_served
from tests.bench.dhcp_servers import CLIENT, ROOT, SERVER, running
from tests.netns import sh

FIRST = IPv4Address("10.96.0.1")
SILENT, WRONG = 20, 10
DHCP_RATE, DHCP_MACHINES = 100, 1000
CHASSIS = "#!/bin/sh\necho power:0\n"
SILENCE = """
import socket, sys, time
kept = []
for address in sys.argv[1:]:
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    kept[-1].bind((address, 623))
print("ready", flush=True)
time.sleep(3600)
"""


class Memory:
    """The most that a process and its descendants used together, MiB; shared pages counted once (PSS)."""

    def __init__(self, pid: int) -> None:
        self.most = self.own = 0.0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self.most = max(self.most, sum(_pss(pid) for pid in _tree(self._pid)))


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _tree(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def plate(number: int) -> Nameplate:
    mac = Mac((0x5254_9600_0000 + number).to_bytes(6, "big"))
    return Nameplate("ACME", "Server 9", f"SN-{number:04}", UUID(int=0x1234 << 100 | number), mac)


def main(argv: list[str]) -> None:
    count = int(argv[argv.index("--bmcs") + 1]) if "--bmcs" in argv else 300
    names = [f"pb{os.getpid()}-{side}" for side in ("server", "client")]
    work = Path(tempfile.mkdtemp(prefix="bench-bmc-"))
    server, client = names
    try:
        with ExitStack() as stack:
            for name in names:
                sh("ip", "netns", "add", name)
            sh("ip", "-n", server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0", "netns", client)
            for namespace, device, address in ((server, "srv0", SERVER), (client, "cli0", CLIENT)):
                sh("ip", "-n", namespace, "link", "set", "lo", "up")
                sh("ip", "-n", namespace, "addr", "add", f"{address}/8", "dev", device)
                sh("ip", "-n", namespace, "link", "set", device, "up")
            addresses = [str(FIRST + n) for n in range(count)]
            batch = work / "addresses"
            batch.write_text("".join(f"addr add {address}/8 dev cli0\n" for address in addresses))
            sh("ip", "-n", client, "-batch", str(batch))
            measure(stack, work, server, client, addresses)
    finally:
        for name in names:
            sh("ip", "netns", "del", name, check=False)
        shutil.rmtree(work, ignore_errors=True)


def measure(stack: ExitStack, work: Path, server: str, client: str, addresses: list[str]) -> None:
    password = secrets.token_hex(8)
    silent = addresses[:: max(1, len(addresses) // SILENT)][:SILENT]
    speaking = [address for address in addresses if address not in silent]
    wrong = speaking[7 :: max(1, len(speaking) // WRONG)][:WRONG]
    start_bmcs(stack, work, client, silent, speaking, wrong, password)
    config = configure(work, addresses, password)
    program = [str(ROOT / ".venv/bin/provisioner")]
    serve = ["ip", "netns", "exec", server, *program, "serve", "--only", "packets", "--config", str(config)]
    stack.enter_context(running(serve, work))
    wait_until_served(client, work)
    say(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    say(f"DHCP without harvest: {spoken(asked(client, 10))}")

    during: list[str] = []
    asking = threading.Thread(target=lambda: during.append(spoken(asked(client, 20))))
    asking.start()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    harvest = subprocess.Popen(
        ["ip", "netns", "exec", server, *program, "bmc", "harvest", "--json", "--config", str(config)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with Memory(harvest.pid) as memory:
        out, _ = harvest.communicate(timeout=300)
    wall = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    asking.join()
    results = json.loads(out)["result"]
    good = sum(1 for result in results if result["ok"])
    quiet = sum(1 for result in results if "does not answer" in result["said"])
    refused = sum(1 for result in results if "password" in result["said"].lower() or "refuse" in result["said"])
    say(f"DHCP during harvest: {during[0]}")
    spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    say(f"harvest: {wall:.1f} s, {spent:.1f} s of processor; {good} read, {quiet} silent, {refused} refused")
    say(f"memory of the harvest with its workers: {memory.most:.0f} MiB (PSS)")
    if (good, quiet, refused) != (len(speaking) - len(wrong), len(silent), len(wrong)):
        say(f"WRONG: expected {len(speaking) - len(wrong)}, {len(silent)}, {len(wrong)}; like {results[0]}")
        raise SystemExit(1)


def start_bmcs(
    stack: ExitStack,
    work: Path,
    client: str,
    silent: list[str],
    speaking: list[str],
    wrong: list[str],
    password: str,
) -> None:
    chassis = work / "chassis"
    chassis.write_text(CHASSIS)
    chassis.chmod(0o755)
    listening = subprocess.Popen(
        ["ip", "netns", "exec", client, sys.executable, "-c", SILENCE, *silent], stdout=subprocess.PIPE
    )
    stack.callback(listening.wait)
    stack.callback(listening.kill)
    assert listening.stdout and listening.stdout.readline()
    bmcs = []
    for number, address in enumerate(speaking):
        bmc = VirtualBmc(
            plate(number),
            IPv4Address(address),
            namespace=client,
            directory=work / f"bmc-{number}",
            user="admin",
            password="another" if address in wrong else password,
            chassis=chassis,
        )
        stack.callback(bmc.stop)
        bmc.start()
        bmcs.append(bmc)
    for bmc in bmcs:
        bmc.wait(time.monotonic() + 30)


def configure(work: Path, addresses: list[str], password: str) -> Path:
    config = work / "provisioner.toml"
    config.write_text(
        f'data_dir = "{work / "data"}"\ninterface = "srv0"\naddress = "{SERVER}"\n'
        "[dhcp]\nnewcomers_per_second = 100000\nunlisted_per_second = 100000\n"
    )
    run = [str(ROOT / ".venv/bin/provisioner")]
    sh(*run, "subnet", "add", "10.0.0.0/8", "--config", str(config), timeout=60)
    rows = (
        f"node{n},{(0x000C01000000 + n).to_bytes(6, 'big').hex(':')},{IPv4Address('10.1.0.0') + n}"
        for n in range(DHCP_MACHINES)
    )
    (work / "machines.csv").write_text("\n".join(["name,mac,ip", *rows]) + "\n")
    sh(*run, "machine", "import", str(work / "machines.csv"), "--config", str(config), timeout=300)
    with House.open(load(config)) as house:
        login = {"prefix": "10.96.0.0/16", "user": "admin", "password": password}
        put_login(house.store, login, actor="bench", now=clock())
        for address in addresses:
            add_bmc(house.store, {"address": address}, actor="bench", now=clock())
    return config


def asked(client: str, seconds: int) -> list[float]:
    """Sorted milliseconds from DISCOVER to OFFER."""
    return sorted(delays(perfdhcp(client, DHCP_RATE, DHCP_MACHINES, seconds, "-x", "t"))[0])


def spoken(times: list[float]) -> str:
    return (
        f"OFFER p50 {statistics.median(times):.2f} ms, p99 {times[int(len(times) * 0.99)]:.2f} ms of {len(times)}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
