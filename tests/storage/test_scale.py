"""Many machines: what the docs promise is printed, what must be true is asserted."""

import sys
import time
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest

from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, Machine, Slot
from provisioner.storage.snapshot_file import read_snapshot, write_snapshot
from provisioner.storage.store import SqlStore

MANY = 10_000


def told(what: str, started: float) -> None:
    """Figures for the docs; shown by ``pytest -s``."""
    sys.stdout.write(f"{what}: {time.monotonic() - started:.3f} s\n")


def numbered(number: int) -> Machine:
    return Machine(
        id=uuid4(),
        slot=Slot(uuid4(), f"node-{number:05}", rack=f"r{number // 40:03}", unit=number % 40, role="worker"),
        interfaces=(Interface(uuid4(), Mac.from_wire((0x5254 << 32 | number).to_bytes(6, "big"))),),
        addresses=(Address(uuid4(), ip_address("10.0.0.0") + number),),
    )


@pytest.mark.system
@pytest.mark.timeout(300)
def test_many_machines(store: SqlStore, tmp_path_factory: pytest.TempPathFactory) -> None:
    started = time.monotonic()
    with store.transaction("cli:import") as tx:
        tx.machines.put_many([numbered(number) for number in range(MANY)])
    told("import", started)

    started = time.monotonic()
    inventory = store.inventory()
    told("snapshot read", started)
    assert len(inventory.macs) == len(inventory.ips) == len(inventory.names) == MANY

    with store.transaction("cli:test") as tx:
        changed = tx.machines.put(replace(inventory.names["node-01500"], labels={"a": "b"}))
    started = time.monotonic()
    after = store.caught_up(inventory)
    told("one change taken over", started)
    assert after.names["node-01500"] == changed
    untouched: UUID = inventory.names["node-00001"].id
    assert after.machines[untouched] is inventory.machines[untouched]

    path = tmp_path_factory.mktemp("scale") / "snapshot.json"
    started = time.monotonic()
    write_snapshot(path, after)
    told("snapshot file written", started)
    started = time.monotonic()
    assert read_snapshot(path) == after
    told("snapshot file read", started)
