# ruff: noqa: T201 - a program that prints
"""The web service asked by 300 machines over HTTP: ``python -m tests.bench.asked``; ``make bench-render`` runs it.

The machines' app runs under uvicorn as the service runs it, in a process on one processor; the askers are another
process on another one. Each asks from an address of its own (127.1.x.y), as admission wants it, and on a connection
of its own, as iPXE and curl do; a time is from the wish to connect to the last byte of the answer.

- at once: 300 machines ask for their config.yml in the same moment, and nothing is asked besides. All times but the
  first few are the queue in front of one processor: the last answer waits for 299 others.
- together: 300 machines boot within ten seconds, each fetching its four files one after the other.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import UUID

import uvicorn

from provisioner.boot.compile import RoleCompiler
from provisioner.boot.roles import RoleFolder
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Install, Interface, Machine, Slot, State
from provisioner.domain.tokens import install_token, token_hash
from provisioner.web.machines import create_machines_app
from provisioner.web.neighbours import neighbour
from provisioner.web.parts import Parts
from tests.bench.standing import Standing
from tests.boot.rack import SHIPPED, images, inventory, machine

ASKERS = 300
SPREAD_SECONDS = 10.0
ROUNDS = 5
KEY = b"k" * 32
FILES = ("pxe.yml", "config.yml", "network", "peers/worker")


def asker(number: int) -> Machine:
    """One of them, with an address that this computer may ask from."""
    here = UUID(int=number)
    ip = IPv4Address("127.1.0.0") + number
    card = Interface(here, Mac(b"\x02\0\0\0" + number.to_bytes(2)))
    install = Install(
        here, "worker", "r", token_hash(install_token(KEY, here)), armed_at=0, deadline=10**18, files=_frozen()
    )
    slot = Slot(here, f"node{number}", role="worker")
    return Machine(here, slot, State.INSTALLING, (card,), (Address(here, ip),), install=install)


def _frozen() -> dict[str, bytes]:
    if not _files:
        compiler = RoleCompiler(RoleFolder(SHIPPED), images)
        nodes = [machine(number, "worker", cluster="c") for number in range(1, 33)]
        _files.update(compiler.compile(nodes[0], inventory(*nodes)).files)
        compiler.close()
    return _files


_files: dict[str, bytes] = {}


def serve(port: int, core: int) -> None:
    """Until killed."""
    os.sched_setaffinity(0, {core})
    standing = Standing(Inventory.build(map(asker, range(1, ASKERS + 1))))
    nothing: Any = None
    parts = Parts(
        store=nothing,
        snapshot=standing,
        observer=standing.front(KEY).observer,
        compiler=nothing,
        journal=nothing,
        token_key=KEY,
        clock=lambda: time.time_ns() // 1000,
        neighbour=neighbour,
        loaders=Path("/nonexistent"),
        images=nothing,
        planner=nothing,
        power_on=nothing,
    )
    uvicorn.run(
        create_machines_app(parts),
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


async def ask(port: int, number: int, part: str) -> float:
    """Milliseconds until the last byte. Raises AssertionError for anything but the whole file."""
    begun = time.perf_counter()
    source = (str(IPv4Address("127.1.0.0") + number), 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    token = install_token(KEY, UUID(int=number))
    writer.write(f"GET /b/{token}/{part} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read(-1)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    return (time.perf_counter() - begun) * 1000


async def at_once(port: int) -> list[float]:
    return list(await asyncio.gather(*(ask(port, number, "config.yml") for number in range(1, ASKERS + 1))))


async def together(port: int, seconds: float) -> list[float]:
    async def boot(number: int) -> list[float]:
        await asyncio.sleep(seconds * number / ASKERS)
        return [await ask(port, number, part) for part in FILES]

    booted = await asyncio.gather(*(boot(number) for number in range(1, ASKERS + 1)))
    return [took for times in booted for took in times]


async def measure(port: int, seconds: float) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            await ask(port, 1, "config.yml")
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
    rounds = [await at_once(port) for _ in range(ROUNDS)]
    _say(
        f"at once, median of {ROUNDS} rounds",
        [statistics.median(times) for times in zip(*map(sorted, rounds), strict=True)],
    )
    _say(f"together, within {seconds:g} s", await together(port, seconds))


def _say(name: str, times: Sequence[float]) -> None:
    cuts = statistics.quantiles(times, n=100)
    print(f"by HTTP, {name}: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms ({len(times)} answers)")


def main(seconds: float = SPREAD_SECONDS) -> None:
    cores = sorted(os.sched_getaffinity(0))
    port = 18000 + os.getpid() % 10000
    command = [sys.executable, "-m", "tests.bench.asked", "--serve", str(port), str(cores[-1])]
    server = subprocess.Popen(command)
    try:
        os.sched_setaffinity(0, {cores[0]})
        asyncio.run(measure(port, seconds))
    finally:
        os.sched_setaffinity(0, set(cores))
        server.kill()
        server.wait()
    print(f"                load average {os.getloadavg()[0]:.1f}, {len(cores)} processors")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
