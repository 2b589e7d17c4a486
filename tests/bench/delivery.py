# ruff: noqa: T201 - a program that prints
"""TFTP and HTTP against their peers in one run: ``make bench-delivery`` (root: it makes a network namespace).

``python -m tests.bench.delivery [--quick] [--only targets|tftp|http]``. ``targets``: the TFTP ratios that are held
to, in turns with the peer, so that a busy minute hits both; ``tftp``: tables of all servers. Servers run on the
first processor, the client on the last. Figures compare within a run only. A peer that is not there is left out.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.bulk import bench_http, told
from tests.bench.tftp_client import MIB, RELAY_PORT, read_all, relay
from tests.bench.tftp_servers import PEERS, ROOT, WINDOWS, ready_tftp, running, tftp_servers

RELAY_SECONDS = 0.001
"""For each packet, each way."""


def bench_tftp(folder: Path, quick: bool) -> None:
    sizes = {"1m": MIB, "8m": 8 * MIB, "64m": 64 * MIB}
    for name, size in sizes.items():
        (folder / name).write_bytes(os.urandom(size))
    cases = [("1m", 1, 512), ("1m", 1, 1468), ("1m", 32, 1468)]
    cases += [] if quick else [("64m", 1, 1468), ("8m", 32, 1468), ("1m", 32, 512)]
    for name, clients, blksize in cases:
        for windowsize in (1, 4, 16):
            speeds = {}
            for server, argv in tftp_servers(folder).items():
                if windowsize == 1 or server in WINDOWS:
                    speeds[server] = best(argv, partial(read_all, name, sizes[name], clients, blksize, windowsize))
            told(f"TFTP {clients} × {name.upper()}iB, blksize {blksize}, windowsize {windowsize}", speeds, "ours")


def bench_targets(folder: Path, quick: bool) -> None:
    size = (1 if quick else 4) * MIB
    (folder / "file").write_bytes(os.urandom(size))
    servers = tftp_servers(folder)
    runs: dict[str, list[float]] = {"ours": [], "tftpd-hpa": [], "windows": []}
    for _ in range(3 if quick else 5):
        for name, server, window in (("ours", "ours", 1), ("tftpd-hpa", "tftpd-hpa", 1), ("windows", "ours", 4)):
            speed = best(servers[server], partial(read_all, "file", size, 32, 1468, window), times=1)
            if isinstance(speed, str):
                print(f"{server}: {speed}")
                return
            runs[name].append(speed)
    ours, hpa, windows = (statistics.median(runs[name]) for name in runs)
    print(
        f"32 clients, blksize 1468, medians: ours {ours:.1f}, tftpd-hpa {hpa:.1f}, windowsize 4 {windows:.1f} MiB/s"
    )
    print(f"  ours / tftpd-hpa: {ours / hpa:.2f} (target 0.9); with windowsize 4: {windows / hpa:.2f} (target 1.5)")
    with running([sys.executable, "-m", "tests.bench.delivery", "--relay"]):
        slow = {
            window: best(servers["ours"], partial(read_all, "file", size, 1, 1468, window, RELAY_PORT), times=3)
            for window in (1, 16)
        }
    one, many = slow[1], slow[16]
    if isinstance(one, float) and isinstance(many, float):
        print(f"1 ms each way: windowsize 1 {one:.2f} MiB/s, 16 {many:.2f} MiB/s: × {many / one:.1f} (target 8)\n")
    else:
        print(f"through the relay: {one}, {many}")


def best(argv: list[str], measure: Callable[[], float], times: int = 2) -> float | str:
    """The best of some runs, or why there is none."""
    if shutil.which(argv[0]) is None:
        return "not installed"
    try:
        with running(argv) as server:
            ready_tftp(server)
            return max(measure() for _ in range(times))
    except (RuntimeError, OSError) as error:
        return str(error)


def inside(chosen: argparse.Namespace) -> None:
    """In a namespace of its own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="delivery-", dir="/dev/shm") as made:
        folder = Path(made)
        folder.chmod(0o755)
        files = folder / "tftp"
        files.mkdir()
        (files / "tiny").write_bytes(b"x")
        for part, run in (
            ("targets", partial(bench_targets, files)),
            ("tftp", partial(bench_tftp, files)),
            ("http", partial(bench_http, folder)),
        ):
            if chosen.only in ("", part):
                begun = time.monotonic()
                run(chosen.quick)
                print(f"[{part}: {time.monotonic() - begun:.0f} s, load {os.getloadavg()[0]:.1f}]\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delivery", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, for a busy machine")
    parser.add_argument("--only", choices=("targets", "tftp", "http"), default="", help="this part, not all three")
    parser.add_argument("--relay", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.relay:
        relay(RELAY_SECONDS)
    if chosen.inside:
        inside(chosen)
        return
    PEERS.mkdir(parents=True, exist_ok=True)
    tftp_servers(ROOT)  # Fetches the peers; there is no network where they run.
    # A namespace of its own: port 69 is free there, whatever this host serves.
    command = [sys.executable, "-m", "tests.bench.delivery", "--inside", *sys.argv[1:]]
    # tftpd-hpa looks its address up by AI_ADDRCONFIG, which wants one that is not 127.0.0.1.
    wire = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"'
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", wire, "sh", *command])


if __name__ == "__main__":
    main()
