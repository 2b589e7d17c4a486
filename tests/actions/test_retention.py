"""Old observations go, in small steps; changes stay, and so does the whole story of a live install."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.actions import retention
from provisioner.actions.retention import Retention
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import State
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store
from tests.domain.samples import install, machine

DAY = 86_400 * 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = open_store(tmp_path)
    yield made
    made.engine.dispose()


def told(store: SqlStore) -> list[str]:
    with store.reading() as tx:
        return [event.message for event in tx.events.list(after=-1, limit=1000)]


def test_old_observations_go_and_changes_stay(store: SqlStore) -> None:
    live = replace(machine(), state=State.INSTALLING, install=install())
    done = machine(
        "node-02", "52:54:00:00:00:02", "10.12.1.18", install=install(id=UUID(int=2), outcome="complete")
    )
    with store.transaction("test") as tx:
        tx.machines.put_many([live, done])
        for it, name in ((live, "live"), (done, "done")):
            tx.events.add(
                Event(Kind.DHCP_ACK, f"old packet of {name}", NOW - 91 * DAY, it.id),
                Event(Kind.REPORT_PROGRESS, f"old progress of {name}", NOW - 91 * DAY, it.id),
                Event(Kind.MACHINE_STATE, f"old change of {name}", NOW - 91 * DAY, it.id),
                Event(Kind.DHCP_ACK, f"new packet of {name}", NOW - 89 * DAY, it.id),
            )
        tx.events.add(Event(Kind.DHCP_IGNORED, "old packet of a stranger", NOW - 91 * DAY))
    before = told(store)
    keeper = Retention(store, days=90)
    assert keeper.step(NOW) == 3
    gone = {"old packet of done", "old progress of done", "old packet of a stranger"}
    assert told(store) == [message for message in before if message not in gone]
    # Nothing more for an hour; then the live install has ended, and its packets may go.
    with store.transaction("test") as tx:
        tx.machines.put_progress(replace(live, install=install(outcome="failed")))
    assert keeper.step(NOW + 1) == 0
    assert keeper.step(NOW + 3600 * 1_000_000) == 2


def test_many_go_in_small_steps_and_none_if_all_is_kept(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    with store.transaction("test") as tx:
        tx.events.add(*(Event(Kind.TFTP_READ, str(number), NOW - 2 * DAY) for number in range(10)))
    assert Retention(store, days=0).step(NOW) == 0
    keeper = Retention(store, days=1)
    assert [keeper.step(NOW + n) for n in range(4)] == [4, 4, 2, 0]
    assert told(store) == []
