# ruff: noqa: T201 - a program that prints
"""How fast machines are rendered, and told: ``make bench-render``. One processor, unless said otherwise.

Role ``worker`` in clusters of 32, each machine another. A machine has seven files: pxe.yml, config.yml, install.sh,
network, boot.ipxe, boot.grub, peers/worker.

- rendered: its templates (the first four; the rest is put together without one) by the template worker.
- compiled: all seven, with every byte checked (cloud-configs against their schema, units, install.sh by bash, once
  for all scripts of one shape) and the role looked at anew: a full machine render, and what arming costs beside the
  database.
- compiled first: the same with nothing remembered of shapes: bash for each machine's script.
- compiled again: for a machine whose files come out unchanged, as in a blast radius.
- told: 300 machines ask at the same moment for bytes that were frozen at arming; the time from the question to
  the bytes with tokens and address filled in, by the threads of a web server but without HTTP.
- by HTTP: the same of a real web service, askers on another processor (see ``asked``).
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.actions import deliver
from provisioner.boot import context, release, roles, shell, validate
from provisioner.boot.compile import RoleCompiler
from provisioner.boot.roles import RoleFolder
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Install, Machine, State
from provisioner.domain.tokens import install_token, machine_token, token_hash
from tests.bench import asked
from tests.bench.standing import Standing
from tests.boot.rack import FLATCAR, SHIPPED, images, inventory, machine

ASKERS = 300
THREADS = 40
"""As many as the web server answers with."""
ROUNDS = 9
WANTED_RATE = 500
WANTED_P99_MS = 20


def rate(name: str, work: Callable[[Machine], object], machines: Sequence[Machine], seconds: float) -> float:
    """How many machines ``work`` does in a second of processor time, over the machines in turn; printed."""
    work(machines[0])
    done, begun, used = 0, time.perf_counter(), processor_seconds()
    while (now := time.perf_counter()) - begun < seconds:
        work(machines[done % len(machines)])
        done += 1
    a_core = done / (processor_seconds() - used)
    print(f"{name:15} {a_core:8.0f} machines/s of one core's time ({done / (now - begun):.0f}/s by the clock)")
    return a_core


def processor_seconds() -> float:
    """Of this process, of its children that ended, and of the template worker, which lives."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        # The 14th and 15th field, counted after the name in brackets.
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    living = ticks / os.sysconf("SC_CLK_TCK")
    return time.process_time() + ended.ru_utime + ended.ru_stime + living


def rendering(compiler: RoleCompiler, rack: Inventory) -> Callable[[Machine], object]:
    role = RoleFolder(SHIPPED).get("worker")
    boot = release.netboot(release.Release("flatcar", FLATCAR.version, tuple(f.name for f in FLATCAR.files)))

    def render(node: Machine) -> object:
        values, _ = context.build(node, rack, role, roles.parameters(role, node.slot.params), boot, [])
        return compiler.render(role, values)

    return render


def anew(compiler: RoleCompiler, rack: Inventory, *memories: Any) -> Callable[[Machine], object]:
    """Compile with nothing in these caches, as for a machine that was never looked at."""

    def compile_anew(node: Machine) -> object:
        for memory in memories:
            memory.cache_clear()
        return compiler.compile(node, rack)

    return compile_anew


def told_at_once(machines: Sequence[Machine], compiler: RoleCompiler, rack: Inventory) -> list[float]:
    """Milliseconds from the question to the bytes, of ``ASKERS`` machines that ask at the same moment."""
    key = b"k" * 32
    frozen = compiler.compile(machines[0], rack)
    armed = []
    for node in machines:
        install = Install(
            node.id,
            "worker",
            frozen.revision,
            token_hash(install_token(key, node.id)),
            armed_at=0,
            deadline=10**18,
            machine_token_hash=token_hash(machine_token(key, node.id)),
            files=frozen.files,
        )
        armed.append(replace(node, state=State.INSTALLING, install=install))
    front = Standing(Inventory.build(armed, rack.subnets)).front(key)
    tokens = [install_token(key, node.id) for node in armed]

    def ask(number: int) -> float:
        node, token = armed[number % len(armed)], tokens[number % len(armed)]
        assert node.ip is not None
        deliver.file_by_token(front, token, "config.yml", node.ip, "192.0.2.1", 1)
        return time.perf_counter()

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(ask, range(THREADS)))
        begun = time.perf_counter()
        return [(end - begun) * 1000 for end in threads.map(ask, range(ASKERS))]


def main() -> int:
    """0 if the figures wanted were reached."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    seconds = options.parse_args().seconds
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(processors)})
    machines = [machine(number, "worker", cluster=f"c{number // 32}") for number in range(1, 225)]
    rack = inventory(*machines)
    compiler = RoleCompiler(RoleFolder(SHIPPED), images)
    try:
        rendered = rate("rendered", rendering(compiler, rack), machines, seconds)
        compiled = rate("compiled", anew(compiler, rack, validate._faults), machines, seconds)
        rate("compiled first", anew(compiler, rack, validate._faults, shell._sound), machines, seconds)
        rate("compiled again", lambda node: compiler.compile(node, rack), machines[:1], seconds)
        used = time.process_time()
        rounds = [told_at_once(machines, compiler, rack) for _ in range(ROUNDS)]
        busy = (time.process_time() - used) / ROUNDS * 1000
    finally:
        compiler.close()
    p99s = [statistics.quantiles(took, n=100)[98] for took in rounds]
    p99 = statistics.median(p99s)
    print(f"told            p99 {p99:.1f} ms while {ASKERS} ask at once ({ROUNDS} rounds of {busy:.0f} ms of work)")
    load = os.getloadavg()[0]
    print(f"wanted          {WANTED_RATE} machines/s compiled, p99 {WANTED_P99_MS} ms; load average {load:.1f}")
    os.sched_setaffinity(0, processors)
    asked.main()
    return 0 if min(rendered, compiled) >= WANTED_RATE and p99 < WANTED_P99_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
