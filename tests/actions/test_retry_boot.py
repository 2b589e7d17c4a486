"""A machine that hangs before its installer runs: power again, a bounded number of times, and only if asked for."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.actions import bmc_jobs, enrol
from provisioner.actions.bmcs import add_bmc
from provisioner.actions.retry_boot import retry_boots
from provisioner.domain.machine import Install, Machine, Phase, State
from provisioner.domain.spoken import MINUTE
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path)
    add_bmc(made, {"address": "10.9.0.1", "user": "admin", "password": "pw"}, **WHO)
    enrol.add_machine(made, {"name": "n1", "mac": "52:54:00:00:00:01", "bmc": "10.9.0.1"}, **WHO)
    return made


def seen(store: SqlStore, phase: Phase | None, at: int, **install: object) -> Machine:
    """n1 armed, last seen in ``phase``."""
    with store.transaction("test") as tx:
        machine = tx.machines.get("n1")
        fresh = machine.install or Install(uuid4(), "simple", "r", "hash", NOW, NOW + 600 * MINUTE, power_cycles=2)
        fresh = replace(fresh, phase=phase, phase_at=at, **install)  # type: ignore[arg-type]
        return tx.machines.put(replace(machine, state=State.ARMED, state_at=NOW, install=fresh))


def tried(store: SqlStore, machine: Machine, now: int) -> bool:
    return bool(retry_boots(store, [machine.id], now=now))


@pytest.mark.rule("fault-15")
def test_a_machine_that_hangs_in_its_boot_is_switched_twice_and_then_left(store: SqlStore) -> None:
    now = NOW
    for _ in range(2):
        machine = seen(store, Phase.LOADER, now)
        assert not tried(store, machine, now + 5 * MINUTE)
        now += 7 * MINUTE
        assert tried(store, machine, now)
        assert not tried(store, machine, now + 60 * MINUTE), "one hang is one power cycle"
    assert not tried(store, seen(store, Phase.LOADER, now), now + 60 * MINUTE)
    with store.transaction("test") as tx:
        jobs = [tx.jobs.lease(bmc_jobs.KINDS, NOW, NOW + 1) for _ in range(3)]
        said = [event.message for event in tx.events.list(machine_id=machine.id) if "another try" in event.message]
    assert [job.args["machines"] if job else None for job in jobs] == [[str(machine.id)], [str(machine.id)], None]
    assert (
        said[-1]
        == "nothing from it for 7 min in phase loader; switching its power for another try, 1 more after this one"
    )


@pytest.mark.parametrize(
    ("phase", "allowed"),
    [(Phase.FIRMWARE, True), (Phase.KERNEL, True), (Phase.CONFIG, False), (Phase.DISK, False), (None, False)],
)
def test_power_is_switched_only_before_the_installer_could_run(
    store: SqlStore, phase: Phase | None, allowed: bool
) -> None:
    assert tried(store, seen(store, phase, NOW), NOW + 60 * MINUTE) is allowed


def test_a_machine_whose_power_nobody_asked_us_to_switch_is_left_alone(store: SqlStore) -> None:
    assert not tried(store, seen(store, Phase.LOADER, NOW, power_cycles=0), NOW + 60 * MINUTE)
