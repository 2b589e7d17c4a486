"""What the watchdog does in time, whatever else goes wrong; and what it does not hold against a machine."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.actions import enrol
from provisioner.actions.retention import Retention
from provisioner.domain.inventory import Inventory
from provisioner.domain.lifecycle import STALLED_AFTER
from provisioner.domain.machine import Install, Machine, Phase, State
from provisioner.domain.spoken import DAY, HOUR, MINUTE, SECOND
from provisioner.storage.journal import Journal
from provisioner.storage.store import SqlStore
from provisioner.watchdog import Watchdog
from tests.actions.opening import NOW, open_store


class Host:
    """A host with two clocks, and the watchdog on it."""

    def __init__(self, folder: Path) -> None:
        self.store: SqlStore = open_store(folder)
        self.journal = Journal(folder / "journal.jsonl")
        self.wall, self.steady = NOW, 0
        enrol.add_machine(self.store, {"name": "n1", "mac": "52:54:00:00:00:01"}, actor="test", now=NOW)

    @property
    def inventory(self) -> Inventory:
        return self.store.inventory()

    def watchdog(self) -> Watchdog:
        retention = Retention(self.store, 30)
        return Watchdog(self.store, self, self.journal, retention, lambda: self.wall, lambda: self.steady)

    def sleep(self, microseconds: int) -> None:
        self.wall += microseconds
        self.steady += microseconds

    def install(self, state: State = State.INSTALLING, **of_install: object) -> Machine:
        open_one = Install(uuid4(), "simple", "r", "hash", NOW, NOW + 2 * HOUR, phase=Phase.IMAGE, phase_at=NOW)
        with self.store.transaction("test") as tx:
            before = replace(tx.machines.get("n1"), state=state, state_at=NOW)
            return tx.machines.put(replace(before, install=replace(open_one, **of_install)))  # type: ignore[arg-type]

    @property
    def machine(self) -> Machine:
        return self.inventory.names["n1"]

    def said(self) -> list[str]:
        with self.store.reading() as tx:
            return [event.message for event in tx.events.list(limit=50)]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_who_gives_no_sign_of_life_has_failed(host: Host) -> None:
    dog = host.watchdog()
    dog.look()
    host.install()
    host.sleep(STALLED_AFTER)
    dog.look()
    assert host.machine.state is State.INSTALLING
    host.sleep(6 * SECOND)
    dog.look()
    assert host.machine.state_reason == "in phase image: no sign of life for 30 minutes"


@pytest.mark.rule("fault-03")
def test_a_journal_that_cannot_be_replayed_keeps_no_machine_from_failing(host: Host, tmp_path: Path) -> None:
    # A torn line is put aside; where that cannot be written, as on a full disk, the replay stops.
    (tmp_path / "journal.jsonl").write_text('{"what": "comp\n')
    (tmp_path / "journal.jsonl.rejected").mkdir()
    dog = host.watchdog()
    dog.look()
    host.install()
    host.sleep(STALLED_AFTER + SECOND)
    dog.look()
    assert host.machine.state is State.FAILED
    (tmp_path / "journal.jsonl.rejected").rmdir()
    host.sleep(6 * SECOND)
    dog.look()
    assert not host.journal.waiting


@pytest.mark.rule("fault-06")
@pytest.mark.parametrize("state", [State.INSTALLING, State.ARMED])
@pytest.mark.parametrize("by", [DAY, -DAY, 31 * MINUTE])
def test_a_clock_that_is_set_ends_no_install(host: Host, state: State, by: int) -> None:
    dog = host.watchdog()
    host.install(state)
    host.sleep(MINUTE)
    dog.look()
    host.wall += by
    host.sleep(6 * SECOND)
    dog.look()
    assert host.machine.state is state
    assert f"the clock was set {'forward' if by > 0 else 'back'} by" in host.said()[0]
    # And the time that was left is still left, no more of it.
    host.sleep(STALLED_AFTER + SECOND if state is State.INSTALLING else 2 * HOUR + max(0, -by))
    dog.look()
    assert host.machine.state is (State.FAILED if state is State.INSTALLING else State.READY)


def test_silence_while_nobody_listened_is_nobodys_fault(host: Host) -> None:
    host.install()
    host.sleep(45 * MINUTE)
    dog = host.watchdog()
    dog.look()
    assert host.machine.state is State.INSTALLING
    assert "nothing was heard of it for 45 min, in which the appliance was away; it has 30 min" in host.said()[0]
    host.sleep(STALLED_AFTER + 6 * SECOND)
    dog.look()
    assert host.machine.state is State.FAILED


def test_a_deadline_that_passed_meanwhile_has_passed(host: Host) -> None:
    host.install(State.ARMED)
    host.sleep(3 * HOUR)
    host.watchdog().look()
    assert host.machine.state is State.READY
