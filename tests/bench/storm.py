# ruff: noqa: T201 - a program that prints
"""A boot storm: N simulated machines through the entire chain at once. ``make bench-storm`` (root: namespaces).

A real ``provisioner serve`` in one namespace, the machines behind a router in another: ROM DHCP by relay, loader
by TFTP, iPXE's DHCP, boot script, kernel and initrd by HTTP, configs, install.sh, progress and complete. Prints
seconds for each step, retries, the services' processor time per machine and their memory. Exits 1 unless every
machine finishes and none needs a fourth DHCP try. The client shares the processors with the appliance: figures are
upper bounds.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.bench.rack_client import STEPS, Rack
from tests.e2e.appliance import Appliance, serving
from tests.images.publisher import DISK, INITRD, KERNEL
from tests.netns import Wire, sh, wire

SERVER, ROUTER, RACK, RELAY = "10.98.0.1", "10.98.0.2", "10.99.0.0/16", IPv4Address("10.99.0.1")
FIRST = IPv4Address("10.99.1.0")
MOST_TRIES = 3
_SECONDS = 1800.0
_LOADER = "undionly.kpxe"


def name(number: int) -> str:
    return f"node-{number:04}"


def mac(number: int) -> str:
    return f"52:54:99:00:{number >> 8:02x}:{number & 255:02x}"


def plug(cable: Wire, machines: int) -> str:
    """A namespace with all the machines' addresses, routed: no neighbour table of ours shows their MACs."""
    namespace = cable.plug("rack", "52:54:98:00:00:02", f"{ROUTER}/24")
    addresses = [RELAY, *(FIRST + number for number in range(machines))]
    batch = "".join(f"addr add {address}/32 dev lo\n" for address in addresses)
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=batch, text=True, check=True, timeout=60)
    sh("ip", "-n", cable.server, "route", "add", RACK, "via", ROUTER)
    return namespace


def release(folder: Path, image_mib: int) -> Path:
    """A release whose live system has the size that is asked for; it starts nothing."""
    folder.mkdir()
    (folder / KERNEL).write_bytes(os.urandom(8 << 20))
    # An odd header: neither gzip nor bzip2, so nothing is unpacked to see whether it is whole.
    (folder / INITRD).write_bytes(b"storm" + os.urandom((image_mib << 20) - 5))
    (folder / DISK).write_bytes(b"storm" + os.urandom(1 << 20))
    (folder / "version.txt").write_text("FLATCAR_VERSION=1.0.0\n")
    return folder


def prepare(appliance: Appliance, folder: Path, machines: int, image_mib: int) -> None:
    appliance.run("subnet", "add", RACK, "--gateway", str(RELAY))
    appliance.run("image", "import", str(release(folder / "release", image_mib)), "--name", "flatcar")
    rows = [f"{name(n)},{mac(n)},{FIRST + n},simple,,,," for n in range(machines)]
    table = "\n".join(["name,mac,ip,role,rack,unit,bmc,labels", *rows]) + "\n"
    appliance.run("machine", "import", "-", data=table)
    for start in range(0, machines, 100):
        appliance.run("machine", "arm", *(name(n) for n in range(start, min(start + 100, machines))))


def processes() -> dict[str, tuple[float, int]]:
    """Processor seconds and resident bytes of each service started by this program, by its name."""
    found: dict[str, tuple[float, int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            pages = int((entry / "statm").read_text().split()[1])
        except OSError:
            continue
        if b"--only" in words and _is_ours(entry):
            service = words[words.index(b"--only") + 1].decode()
            ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            seconds, resident = found.get(service, (0.0, 0))
            found[service] = (seconds + ticks, max(resident, pages * os.sysconf("SC_PAGE_SIZE")))
    return found


def _is_ours(entry: Path) -> bool:
    """Is it a descendant of this program?"""
    pid = entry.name
    while pid not in ("0", "1"):
        if int(pid) == os.getpid():
            return True
        try:
            pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            return False
    return False


@dataclass
class Storm:
    """What became of the machines, and what it took."""

    results: list[dict[str, Any]]
    """An ``Outcome`` of ``rack_client`` each."""
    installed: int
    """As the inventory has it afterwards."""
    seconds: float
    before: dict[str, tuple[float, int]]
    after: dict[str, tuple[float, int]]
    """Processor seconds and resident bytes by service."""

    @property
    def failed(self) -> list[str]:
        return [f"{one['mac']}: {one['error']}" for one in self.results if one["error"]]

    @property
    def tries(self) -> int:
        """The most that a DHCP question took."""
        return max((int(one["tries"]) for one in self.results), default=0)

    @property
    def passed(self) -> bool:
        return not self.failed and self.installed == len(self.results) and self.tries <= MOST_TRIES


def storm(machines: int, image_mib: int) -> Storm:
    """Raises RuntimeError when the machines' program fails."""
    with tempfile.TemporaryDirectory(prefix="storm-", dir="/dev/shm") as made, wire(f"{SERVER}/24") as cable:
        folder = Path(made)
        namespace = plug(cable, machines)
        with serving(cable, folder) as appliance:
            prepare(appliance, folder, machines, image_mib)
            rack = Rack(SERVER, str(RELAY), _LOADER, [(mac(n), str(FIRST + n)) for n in range(machines)])
            before = processes()
            argv = [*cable.exec(namespace), sys.executable, "-m", "tests.bench.rack_client"]
            begun = time.monotonic()
            done = subprocess.run(
                argv,
                input=json.dumps(asdict(rack)),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                cwd=Path(__file__).parents[2],
            )
            seconds = time.monotonic() - begun
            if done.returncode:
                raise RuntimeError(f"the machines' program failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            after = processes()
            states = [row["state"] for row in appliance.ask("machine", "list")]
    return Storm(json.loads(done.stdout), states.count("installed"), seconds, before, after)


def told(report: Storm, image_mib: int) -> None:
    machines = len(report.results)
    print(
        f"{machines} machines at once, {image_mib} MiB each: {report.seconds:.0f} s, load {os.getloadavg()[0]:.1f}"
    )
    print(f"  {'step':10} {'p50':>8} {'p95':>8} {'p99':>8}  seconds")
    for step in (*STEPS, "total"):
        times = sorted(one["seconds"][step] for one in report.results if step in one["seconds"])
        if len(times) > 1:
            cuts = statistics.quantiles(times, n=100, method="inclusive")
            print(f"  {step:10} {cuts[49]:8.2f} {cuts[94]:8.2f} {cuts[98]:8.2f}")
    whole = 0.0
    for service, (used, resident) in sorted(report.after.items()):
        spent = (used - report.before.get(service, (0.0, 0))[0]) / max(machines, 1)
        whole += spent
        print(f"  {service:10} {1000 * spent:8.1f} ms of processor a machine, {resident / 1e6:.0f} MB resident")
    print(f"  together   {whole:.3f} s of processor a machine")
    print(f"  most DHCP tries for one answer: {report.tries} (bound {MOST_TRIES})")
    finished = machines - len(report.failed)
    print(f"  finished: {finished} of {machines}; installed in the inventory: {report.installed}")
    for line in report.failed[:5]:
        print(f"  {line}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.storm", description=__doc__)
    parser.add_argument("--machines", type=int, default=500)
    parser.add_argument("--image-mib", type=int, default=64)
    chosen = parser.parse_args()
    # Ended from outside, it still takes its appliance and namespaces down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    report = storm(chosen.machines, chosen.image_mib)
    told(report, chosen.image_mib)
    sys.exit(0 if report.passed else 1)


if __name__ == "__main__":
    main()
