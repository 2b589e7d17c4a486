"""DHCP exchanges a second: this responder, Kea and dnsmasq, asked by perfdhcp in one run. `make bench-dhcp`.

`python -m tests.bench.dhcp [--short] [--only reserved|pool]`. Each server runs in a network namespace of its own
with 10,000 reserved machines, then with a pool of 60,000 addresses; perfdhcp asks from another. The offered rate is
raised until more than 2.5 % of the exchanges are lost. Ours is the packets service as it is run: events in its
database, leases fsynced before the ACK. Kea and dnsmasq log to a file as they do by default; neither fsyncs its
leases.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from tests.netns import sh

SERVER, CLIENT, PREFIX = "10.0.0.1", "10.0.0.2", "10.0.0.0/8"
RESERVED, FIRST_MAC, FIRST_IP = 10_000, 0x000C01000000, IPv4Address("10.1.0.0")
POOL = ("10.64.0.0", "10.64.234.95")
RATES = (1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 10_000, 12_000, 15_000, 20_000)
LOST = 2.5
ROOT = Path(__file__).parents[2]


@dataclass
class Result:
    """What one server did in one setting."""

    rate: float = 0.0
    """Exchanges a second, at the highest offered rate that lost at most 2.5 %."""
    p50: float = 0.0
    p99: float = 0.0
    """Milliseconds from DISCOVER to OFFER at 1,000 a second."""
    p99_ack: float = 0.0
    rss: float = 0.0
    """MiB, after the last run."""
    steps: list[str] = field(default_factory=list)


def macs() -> Iterator[tuple[str, IPv4Address]]:
    for number in range(RESERVED):
        text = f"{FIRST_MAC + number:012x}"
        yield ":".join(text[at : at + 2] for at in range(0, 12, 2)), FIRST_IP + number


@contextmanager
def ours(server: str, work: Path, pooled: bool) -> Iterator[int]:
    """The packets service over a database that the commands made."""
    config = work / "provisioner.toml"
    config.write_text(
        f'data_dir = "{work / "data"}"\ninterface = "srv0"\naddress = "{SERVER}"\n'
        "[dhcp]\nnewcomers_per_second = 100000\nunlisted_per_second = 100000\n"
    )
    run = [str(ROOT / ".venv/bin/provisioner")]
    subnet = ["--unknown", "address", "--pool", "-".join(POOL)] if pooled else []
    sh(*run, "subnet", "add", PREFIX, *subnet, "--config", str(config), timeout=60)
    if not pooled:
        rows = [f"node{number},{mac},{ip}" for number, (mac, ip) in enumerate(macs())]
        (work / "machines.csv").write_text("\n".join(["name,mac,ip", *rows]) + "\n")
        sh(*run, "machine", "import", str(work / "machines.csv"), "--config", str(config), timeout=300)
    serve = [*run, "serve", "--only", "packets", "--config", str(config)]
    with running(["ip", "netns", "exec", server, *serve], work) as process:
        yield process.pid


@contextmanager
def kea(server: str, work: Path, pooled: bool) -> Iterator[int]:
    """Kea with memfile and two threads, which was its best setting here; leases are not fsynced."""
    here = [{"hw-address": mac, "ip-address": str(ip)} for mac, ip in macs()]
    config = {
        "Dhcp4": {
            "interfaces-config": {"interfaces": ["srv0"], "dhcp-socket-type": "udp"},
            "multi-threading": {"enable-multi-threading": True, "thread-pool-size": 2, "packet-queue-size": 64},
            "lease-database": {"type": "memfile", "persist": True, "name": str(work / "leases.csv")},
            "match-client-id": False,
            "valid-lifetime": 3600,
            "subnet4": [
                {
                    "subnet": PREFIX,
                    "reservations-in-subnet": True,
                    "reservations": [] if pooled else here,
                    "pools": [{"pool": " - ".join(POOL)}] if pooled else [],
                }
            ],
            "loggers": [
                {"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": str(work / "kea.log")}]}
            ],
        }
    }
    (work / "kea.json").write_text(json.dumps(config))
    # Kea keeps its lock and pid files where these say.
    places = {"KEA_PIDFILE_DIR": str(work), "KEA_LOCKFILE_DIR": str(work)}
    argv = ["ip", "netns", "exec", server, "kea-dhcp4", "-c", str(work / "kea.json")]
    with running(argv, work, places) as process:
        yield process.pid


@contextmanager
def dnsmasq(server: str, work: Path, pooled: bool) -> Iterator[int]:
    (work / "hosts").write_text("\n".join(f"{mac},{ip}" for mac, ip in macs()) + "\n")
    spans = f"{POOL[0]},{POOL[1]}" if pooled else "10.0.0.0,static"
    argv = [
        *("ip", "netns", "exec", server, "dnsmasq", "-k", "-C", "/dev/null", "--port=0"),
        *("--interface=srv0", "--user=root"),
        *(f"--dhcp-range={spans},255.0.0.0,3600", "--dhcp-authoritative", "--no-ping", "--dhcp-lease-max=100000"),
        *([] if pooled else [f"--dhcp-hostsfile={work / 'hosts'}"]),
        *(f"--dhcp-leasefile={work / 'leases'}", f"--pid-file={work / 'pid'}", f"--log-facility={work / 'log'}"),
    ]
    with running(argv, work) as process:
        yield process.pid


@contextmanager
def running(argv: list[str], work: Path, more: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with (work / "output").open("wb") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=output, env={**os.environ, **(more or {})}, start_new_session=True
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def rss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def perfdhcp(client: str, rate: int, clients: int, seconds: int, *more: str) -> str:
    argv = ["perfdhcp", "-4", "-l", "cli0", "-r", str(rate), "-R", str(clients), "-p", str(seconds), *more]
    argv += ["-b", "mac=00:0c:01:00:00:00", SERVER]
    done = sh("ip", "netns", "exec", client, *argv, check=False, timeout=seconds + 60)
    return done.stdout + done.stderr


def outcome(said: str) -> tuple[float, float]:
    """Exchanges a second, and the percentage of exchanges lost."""
    sent = [int(n) for n in re.findall(r"sent packets: (\d+)", said)]
    received = [int(n) for n in re.findall(r"received packets: (\d+)", said)]
    rate = re.search(r"Rate: ([\d.]+) 4-way", said)
    if not sent or not received or not rate or not sent[0]:
        raise RuntimeError(f"perfdhcp said:\n{said[-2000:]}")
    return float(rate[1]), 100 * (1 - received[1] / sent[0])


def delays(said: str) -> list[list[float]]:
    """Milliseconds of each exchange, by `-x t`: one list for DISCOVER-OFFER, one for REQUEST-ACK."""
    return [
        [
            1000 * (float(back) - float(out))
            for out, back in re.findall(r"^sent / received: ([\d.]+) / ([\d.]+)", block, re.MULTILINE)
        ]
        for block in said.split("Timestamps for packets")[1:]
    ]


def measure(kind: str, pooled: bool, seconds: int, rates: tuple[int, ...]) -> Result:
    result = Result()
    clients = 60_000 if pooled else RESERVED
    names = [f"pb{os.getpid()}-{side}" for side in ("server", "client")]
    work = Path(tempfile.mkdtemp(prefix="bench-dhcp-"))
    try:
        for name in names:
            sh("ip", "netns", "add", name)
        server, client = names
        sh("ip", "-n", server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0", "netns", client)
        for namespace, device, address in ((server, "srv0", SERVER), (client, "cli0", CLIENT)):
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
            sh("ip", "-n", namespace, "addr", "add", f"{address}/8", "dev", device)
            sh("ip", "-n", namespace, "link", "set", device, "up")
        with {"ours": ours, "kea": kea, "dnsmasq": dnsmasq}[kind](server, work, pooled) as pid:
            wait_until_served(client, work)
            said = perfdhcp(client, 1000, clients, seconds, "-x", "t")
            first, second = (sorted(each) or [0.0] for each in [*delays(said), [], []][:2])
            result.p50, result.p99 = statistics.median(first), first[int(len(first) * 0.99)]
            result.p99_ack = second[int(len(second) * 0.99)]
            for rate in rates:
                done, lost = outcome(perfdhcp(client, rate, clients, seconds))
                result.steps.append(f"{rate}: {done:.0f}/s, {lost:.1f} % lost")
                if lost > LOST:
                    break
                result.rate = done
            result.rss = rss(pid)
    finally:
        for name in names:
            sh("ip", "netns", "del", name, check=False)
        shutil.rmtree(work, ignore_errors=True)
    return result


def wait_until_served(client: str, work: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if outcome(perfdhcp(client, 10, 10, 1))[1] < 50:
            return
    raise RuntimeError(f"not served; it said:\n{(work / 'output').read_text()[-3000:]}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> None:
    short = "--short" in argv
    settings = [("reserved", False), ("pool", True)]
    if "--only" in argv:
        settings = [each for each in settings if each[0] == argv[argv.index("--only") + 1]]
    rates = RATES[1::2] if short else RATES
    for name, pooled in settings:
        say(f"\n{name}: {'60,000 addresses' if pooled else '10,000 machines'}")
        results = {}
        for kind in ("ours", "kea", "dnsmasq"):
            results[kind] = measured = measure(kind, pooled, 4 if short else 15, rates)
            say(
                f"  {kind:8} {measured.rate:7.0f} exchanges/s   OFFER p50 {measured.p50:.2f} ms p99 "
                f"{measured.p99:.2f} ms, ACK p99 {measured.p99_ack:.2f} ms at 1,000/s   RSS {measured.rss:.0f} MiB"
            )
            say("           " + "; ".join(measured.steps))
        mine = results["ours"].rate
        for kind in ("kea", "dnsmasq"):
            theirs = results[kind].rate
            # A peer that lost more at the lowest rate has no rate to compare with.
            said = (
                f"{mine / theirs:.1f} x {kind}" if theirs else f"{kind} lost more than {LOST} % at the lowest rate"
            )
            say(f"  ours = {said}")


if __name__ == "__main__":
    main(sys.argv[1:])
