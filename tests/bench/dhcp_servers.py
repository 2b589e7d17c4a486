"""The DHCP servers of the bench, each on its own configuration in a namespace: ours, Kea and dnsmasq."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from tests.netns import sh

SERVER, CLIENT, PREFIX = "10.0.0.1", "10.0.0.2", "10.0.0.0/8"
RESERVED, FIRST_MAC, FIRST_IP = 10_000, 0x000C01000000, IPv4Address("10.1.0.0")
POOL = ("10.64.0.0", "10.64.234.95")
PASSWORD = "only-for-the-bench"
ROOT = Path(__file__).parents[2]
PROVISIONER = str(ROOT / ".venv/bin/provisioner")


def at_nice(value: int) -> tuple[str, ...]:
    """What to put before a program that leads a session: between sessions the kernel's autogroups count, and they
    have nice values of their own."""
    return ("nice", "-n", str(value), "sh", "-c", f'echo {value} >/proc/self/autogroup; exec "$@"', "sh")


def macs() -> Iterator[tuple[str, IPv4Address]]:
    for number in range(RESERVED):
        text = f"{FIRST_MAC + number:012x}"
        yield ":".join(text[at : at + 2] for at in range(0, 12, 2)), FIRST_IP + number


@contextmanager
def ours(server: str, work: Path, pooled: bool, *, whole: bool = False) -> Iterator[int]:
    """The packets service over a database that the commands made; ``whole``: the other services beside it."""
    config = work / "provisioner.toml"
    config.write_text(
        f'data_dir = "{work / "data"}"\ninterface = "srv0"\naddress = "{SERVER}"\n'
        "[dhcp]\nnewcomers_per_second = 100000\nunlisted_per_second = 100000\n"
    )
    run = [PROVISIONER]
    subnet = ["--unknown", "address", "--pool", "-".join(POOL)] if pooled else []
    sh(*run, "subnet", "add", PREFIX, *subnet, "--config", str(config), timeout=60)
    if not pooled:
        rows = [f"node{number},{mac},{ip},simple" for number, (mac, ip) in enumerate(macs())]
        (work / "machines.csv").write_text("\n".join(["name,mac,ip,role", *rows]) + "\n")
        sh(*run, "machine", "import", str(work / "machines.csv"), "--config", str(config), timeout=300)
    only = [] if whole else ["--only", "packets"]
    if whole:
        lab = ROOT / "netboot_assets/build/images/flatcar/lab"
        sh(*run, "image", "import", str(lab), "--name", "flatcar", "--config", str(config), timeout=120)
        add = [*run, "user", "add", "bench", "--password-stdin", "--config", str(config)]
        subprocess.run(add, input=PASSWORD + "\n", text=True, check=True, timeout=60, capture_output=True)
    with running(["ip", "netns", "exec", server, *run, "serve", *only, "--config", str(config)], work) as process:
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
    argv = ["ip", "netns", "exec", server, *at_nice(-5), "kea-dhcp4", "-c", str(work / "kea.json")]
    with running(argv, work, places) as process:
        yield process.pid


@contextmanager
def dnsmasq(server: str, work: Path, pooled: bool) -> Iterator[int]:
    (work / "hosts").write_text("\n".join(f"{mac},{ip}" for mac, ip in macs()) + "\n")
    spans = f"{POOL[0]},{POOL[1]}" if pooled else "10.0.0.0,static"
    argv = [
        *("ip", "netns", "exec", server, *at_nice(-5), "dnsmasq", "-k", "-C", "/dev/null", "--port=0"),
        *("--interface=srv0", "--user=root"),
        *(f"--dhcp-range={spans},255.0.0.0,3600", "--dhcp-authoritative", "--no-ping", "--dhcp-lease-max=100000"),
        *([] if pooled else [f"--dhcp-hostsfile={work / 'hosts'}"]),
        *(f"--dhcp-leasefile={work / 'leases'}", f"--pid-file={work / 'pid'}", f"--log-facility={work / 'log'}"),
    ]
    (work / "arguments").write_text(" ".join(argv[11:]))
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
