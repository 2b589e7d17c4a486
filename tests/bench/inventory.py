"""Figures for large inventories: import, import again, plan, apply, export. Prints; judges nothing.

``python -m tests.bench.inventory [MACHINES]``
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from provisioner.actions import allocate, inventory_file, subnets
from provisioner.storage.database import migrate, open_engine
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore

T = TypeVar("T")
NOW = 1_800_000_000_000_000


def table(machines: int) -> str:
    """A vendor's list: 40 machines a rack, two cards each, a BMC each."""
    lines = ["name,mac,role,rack,unit,bmc,labels"]
    for n in range(machines):
        serial = f"{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"
        macs = f"52:54:00:{serial};52:54:01:{serial}"
        lines.append(f"m{n:05},{macs},simple,r{n // 40:03},{n % 40 + 1},10.9.{n >> 8}.{n & 255},site=zh")
    return "\n".join(lines) + "\n"


def timed(what: str, call: Callable[[], T]) -> T:
    started, used = time.monotonic(), time.process_time()
    result = call()
    wall, cpu = time.monotonic() - started, time.process_time() - used
    print(f"{what:28} {wall:7.2f} s wall {cpu:7.2f} s CPU", flush=True)  # noqa: T201
    return result


def main(machines: int) -> None:
    who = {"actor": "cli:bench", "now": NOW}
    print(f"{machines} machines, SQLite, load {os.getloadavg()[0]:.1f}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/bench.db")
        migrate(engine)
        store = SqlStore(engine, Keyring.open(Path(folder) / "keys"))
        subnets.put_subnet(store, "10.128.0.0/16", {"gateway": "10.128.0.1"}, actor="cli:bench", now=NOW)
        rows = timed("parse CSV", lambda: inventory_file.parse_csv(table(machines)))
        timed("import", lambda: inventory_file.import_machines(store, rows, **who))
        timed("import again, unchanged", lambda: inventory_file.import_machines(store, rows, **who))
        rule = allocate.read_rule({"prefix": "10.128.0.0/16", "name": "{rack}-{unit:02}"})
        plan = timed("allocate plan", lambda: allocate.plan(store, rule))
        timed("allocate apply", lambda: allocate.apply(store, plan, **who))
        timed("export", lambda: inventory_file.to_csv(inventory_file.export_rows(store)))
        timed("snapshot from the database", store.inventory)
        engine.dispose()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
