"""DHCP exchanges a second: this responder, Kea and dnsmasq, asked by perfdhcp in one run. `make bench-dhcp`.

`python -m tests.bench.dhcp [--short] [--only reserved|pool|busy] [--rounds N]`. Each server runs in a network
namespace of its own with 10,000 reserved machines, then with a pool of 60,000 addresses; perfdhcp asks from
another. The offered rate is doubled until more than 2.5 % of the exchanges are lost, then the border is looked for
in steps of 500, for the peers as for us. Rounds go from server to server; the median of the rounds counts, and that
of the ratios within each round. Ours is the packets service as it is run: events in its database, leases fsynced
before the ACK. Kea and dnsmasq log to a file as they do by default; neither fsyncs its leases.
`busy` is the whole appliance at 1,000 exchanges a second while somebody uses the page and 300 machines are armed,
their configs rendered.

The packets service runs at nice -5; so do the peers here, and perfdhcp at -10, since it is not what is measured.
Beside each rate stands the processor time that an exchange took, all threads and processes of the server together:
it says more than the rate does where other programs have the processors, too.

One perfdhcp stands for thousands of machines and has one socket. With the kernel's usual 208 KiB it loses answers
that come while it is not scheduled, which no machine of a rack would; so new sockets have 4 MiB while this runs,
those of all servers too. What its socket lost all the same is told beside the step.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.dhcp_servers import CLIENT, PASSWORD, PROVISIONER, RESERVED, SERVER, at_nice, dnsmasq, kea, ours
from tests.netns import sh

PARTS = ("reserved", "pool", "busy")
BUFFER = 4 << 20
"""Bytes that a socket may hold back; the servers' own wishes go beyond it."""
RATES = (2000, 4000, 8000, 16_000)
GRAIN = 500
"""Exchanges a second between the highest rate that is held and the lowest that is not."""
LOST = 2.5
IN_TIME = 500_000
"""Microseconds after the last question in which an answer is still one."""


@dataclass
class Result:
    """What one server did in one setting."""

    rate: float = 0.0
    """Exchanges a second, at the highest offered rate that lost at most 2.5 %."""
    p50: float = 0.0
    p99: float = 0.0
    """Milliseconds from DISCOVER to OFFER at 1,000 a second."""
    p99_ack: float = 0.0
    cpu: float = 0.0
    """Microseconds an exchange, at the best rate."""
    rss: float = 0.0
    """MiB, after the last run."""
    config: str = ""
    steps: list[str] = field(default_factory=list)


# Logs in and reads pages one after the other, as fast as they come, for so many seconds; prints how many it got.
READER = """
import sys, time, urllib.parse, urllib.request
base, password, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
form = urllib.parse.urlencode({"name": "bench", "password": password}).encode()
assert "password" not in opener.open(urllib.request.Request(base + "/login", form)).read().decode()
until, pages = time.monotonic() + seconds, 0
while time.monotonic() < until:
    for path in ("/", "/machines/node77", "/api/v1/machines?limit=100"):
        opener.open(base + path).read()
        pages += 1
print(pages)
"""


def status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name + ":")), "")


def rss(pid: int) -> float:
    """MiB."""
    return int(status(pid, "VmRSS").split()[0]) / 1024


def family(pid: int) -> Iterator[int]:
    """The process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def processor_seconds(pid: int) -> float:
    """Used so far by the process and all that it started."""
    tasks = [task for each in family(pid) for task in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def perfdhcp(client: str, rate: int, clients: int, seconds: int, *more: str) -> str:
    argv = ["perfdhcp", "-4", "-l", "cli0", "-r", str(rate), "-R", str(clients), "-p", str(seconds)]
    # At its end it would count as lost what is on its way; -W lets that arrive (microseconds).
    argv += ["-W", str(IN_TIME), *more]
    argv += ["-b", "mac=00:0c:01:00:00:00", SERVER]
    done = sh("ip", "netns", "exec", client, "setsid", *at_nice(-10), *argv, check=False, timeout=seconds + 60)
    return done.stdout + done.stderr


def outcome(said: str) -> tuple[int, float]:
    """Exchanges that came to their ACK, and the percentage of those begun that did not."""
    sent = [int(n) for n in re.findall(r"sent packets: (\d+)", said)]
    received = [int(n) for n in re.findall(r"received packets: (\d+)", said)]
    if not sent or not received or not sent[0]:
        raise RuntimeError(f"perfdhcp said:\n{said[-2000:]}")
    return received[1], 100 * (1 - received[1] / sent[0])


def delays(said: str) -> list[list[float]]:
    """Sorted milliseconds of each exchange, by `-x t`: one list for DISCOVER-OFFER, one for REQUEST-ACK."""
    blocks = [
        sorted(
            1000 * (float(back) - float(out))
            for out, back in re.findall(r"^sent / received: ([\d.]+) / ([\d.]+)", block, re.MULTILINE)
        )
        for block in said.split("Timestamps for packets")[1:]
    ]
    return [block or [0.0] for block in [*blocks, [], []][:2]]


@contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """One for the server and one for the clients, a veth between them."""
    names = server, client = (f"pb{os.getpid()}-server", f"pb{os.getpid()}-client")
    try:
        for name in names:
            sh("ip", "netns", "add", name)
        sh("ip", "-n", server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0", "netns", client)
        for namespace, device, address in ((server, "srv0", SERVER), (client, "cli0", CLIENT)):
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
            sh("ip", "-n", namespace, "addr", "add", f"{address}/8", "dev", device)
            sh("ip", "-n", namespace, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            # perfdhcp in a session of its own outlives whoever ended the bench.
            for pid in sh("ip", "netns", "pids", name, check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            sh("ip", "netns", "del", name, check=False)


@contextmanager
def roomy_sockets() -> Iterator[None]:
    """The kernel's default for new sockets, as it was after."""
    setting = Path("/proc/sys/net/core/rmem_default")
    before = setting.read_text()
    setting.write_text(str(BUFFER))
    try:
        yield
    finally:
        setting.write_text(before)


def lost_by_client(client: str) -> int:
    """Datagrams that came for perfdhcp and found no room in its socket."""
    lines = sh("ip", "netns", "exec", client, "cat", "/proc/net/snmp").stdout.splitlines()
    names, numbers = (line.split() for line in lines if line.startswith("Udp:"))
    return int(numbers[names.index("RcvbufErrors")])


def highest_held(held: Callable[[int], bool], rates: Iterable[int] = RATES, grain: int = GRAIN) -> int:
    """The highest rate that is held: of ``rates``, then of the multiples of ``grain`` below one that is not."""
    good = 0
    for rate in rates:
        if held(rate):
            good = rate
            continue
        bad = rate
        while (middle := (good + bad) // 2 // grain * grain) > good:
            if held(middle):
                good = middle
            else:
                bad = middle
        break
    return good


def measure(kind: str, pooled: bool, seconds: int) -> Result:
    result = Result()
    clients = 60_000 if pooled else RESERVED
    work = Path(tempfile.mkdtemp(prefix="bench-dhcp-"))
    serve = {"ours": ours, "kea": kea, "dnsmasq": dnsmasq}[kind]
    try:
        with namespaces() as (server, client), serve(server, work, pooled) as pid:
            wait_until_served(client, work)
            first, second = delays(perfdhcp(client, 1000, clients, seconds, "-x", "t"))
            result.p50, result.p99 = statistics.median(first), first[int(len(first) * 0.99)]
            result.p99_ack = second[int(len(second) * 0.99)]

            def held(rate: int) -> bool:
                used, missed = processor_seconds(pid), lost_by_client(client)
                exchanges, lost = outcome(perfdhcp(client, rate, clients, seconds))
                done = exchanges / seconds
                cpu = 1e6 * (processor_seconds(pid) - used) / max(1, exchanges)
                missed = lost_by_client(client) - missed
                step = f"{rate}: {done:.0f}/s, {lost:.1f} % lost, {cpu:.0f} us"
                result.steps.append(step + (f", {missed} lost by perfdhcp" if missed else ""))
                if lost > LOST:
                    return False
                result.rate, result.cpu = done, cpu
                return True

            highest_held(held)
            result.rss = rss(pid)
        result.config = configuration(kind, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return result


def configuration(kind: str, work: Path) -> str:
    """What the server was told, without its 10,000 machines."""
    if kind == "kea":
        return re.sub(r'"reservations": \[\{.*?\}\]', '"reservations": [10,000]', (work / "kea.json").read_text())
    if kind == "dnsmasq":
        return (work / "arguments").read_text()
    return " ".join((work / "provisioner.toml").read_text().split("\n"))


def wait_until_served(client: str, work: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if outcome(perfdhcp(client, 10, 10, 1))[1] < 50:
            return
    raise RuntimeError(f"not served; it said:\n{(work / 'output').read_text()[-3000:]}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def busy(seconds: int) -> None:
    """The whole appliance at 1,000 exchanges a second, first left alone, then used."""
    work = Path(tempfile.mkdtemp(prefix="bench-dhcp-"))
    try:
        with namespaces() as (server, client), ours(server, work, False, whole=True) as pid:
            wait_until_served(client, work)
            packets = next(each for each in family(pid) if b"packets" in Path(f"/proc/{each}/cmdline").read_bytes())
            alone = perfdhcp(client, 1000, RESERVED, seconds, "-x", "t")
            say(f"  left alone: {latencies(alone)}")
            arm = [PROVISIONER, "machine", "arm", *(f"node{number}" for number in range(300))]
            reader = ["ip", "netns", "exec", client, sys.executable, "-c", READER]
            with (
                subprocess.Popen(
                    [*arm, "--config", str(work / "provisioner.toml")], stdout=subprocess.PIPE
                ) as armed,
                subprocess.Popen(
                    [*reader, f"http://{SERVER}:8080", PASSWORD, str(seconds)], stdout=subprocess.PIPE
                ) as read,
            ):
                used = perfdhcp(client, 1000, RESERVED, seconds, "-x", "t")
                pages, machines = (
                    read.communicate(timeout=60)[0].decode(),
                    armed.communicate(timeout=300)[0].decode(),
                )
            say(f"  in use:     {latencies(used)}")
            say(f"  {pages.strip()} pages read, {machines.count('node')} machines armed meanwhile")
            say(f"  RSS of packets {rss(packets):.0f} MiB, {load()}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def latencies(said: str) -> str:
    told = [
        f"{name} p50 {statistics.median(each):.2f} p99 {each[int(len(each) * 0.99)]:.2f} ms"
        for name, each in zip(("OFFER", "ACK"), delays(said), strict=True)
    ]
    return f"{', '.join(told)}, {outcome(said)[1]:.1f} % lost"


def main(argv: list[str]) -> None:
    told = argparse.ArgumentParser(prog="python -m tests.bench.dhcp", description=__doc__)
    told.add_argument("--short", action="store_true", help="shorter steps")
    told.add_argument("--only", choices=PARTS, default="", help="this part, not all three")
    told.add_argument("--rounds", type=int, default=1, help="measure everybody so often; the median counts")
    chosen = told.parse_args(argv)
    short, only, rounds = chosen.short, chosen.only, chosen.rounds
    # Ended from outside, it still takes its servers and namespaces down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with roomy_sockets():
        compare(only, rounds, 6 if short else 15)
        if only in ("", "busy"):
            say(f"\nbusy: the whole appliance, 10,000 machines, 1,000 exchanges a second; {load()}")
            busy(20)


def compare(only: str, rounds: int, seconds: int) -> None:
    """Print what each server did with reservations and with a pool, and the ratios."""
    for name, pooled in [each for each in (("reserved", False), ("pool", True)) if only in ("", each[0])]:
        say(f"\n{name}: {'60,000 addresses' if pooled else '10,000 machines'}; {load()}")
        results: dict[str, list[Result]] = {"ours": [], "kea": [], "dnsmasq": []}
        # Round by round, so that a busy minute of the machine hits everybody.
        for _ in range(rounds):
            for kind, measured in results.items():
                measured.append(measure(kind, pooled, seconds))
        for kind, measured in results.items():
            told = {
                name: statistics.median(getattr(each, name) for each in measured)
                for name in ("rate", "cpu", "p50", "p99", "p99_ack", "rss")
            }
            say(
                "  {kind:8} {rate:7.0f} exchanges/s, {cpu:.0f} us of processor each   OFFER p50 {p50:.2f} ms "
                "p99 {p99:.2f} ms, ACK p99 {p99_ack:.2f} ms at 1,000/s   RSS {rss:.0f} MiB".format(
                    kind=kind, **told
                )
            )
            for each in measured:
                say("           " + "; ".join(each.steps))
            say("           " + measured[-1].config)
        for kind in ("kea", "dnsmasq"):
            # A peer that lost more even at the lowest rate has no rate to compare with.
            ratios = [
                mine.rate / theirs.rate
                for mine, theirs in zip(results["ours"], results[kind], strict=True)
                if theirs.rate
            ]
            said = (
                f"{statistics.median(ratios):.2f} x {kind} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
                if ratios
                else f"{kind} could not hold {GRAIN}/s"
            )
            say(f"  ours = {said}; {load()}")


if __name__ == "__main__":
    main(sys.argv[1:])
