"""What nobody asks for goes, in small steps; changes stay, and so does the whole story of a live install."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from provisioner.actions import happening, retention
from provisioner.actions.happening import Happening, What, carry_out
from provisioner.actions.retention import Retention
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import State
from provisioner.domain.records import ApiToken, Job, User
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


def test_what_strangers_and_failing_services_can_cause_without_end_goes_too(store: SqlStore) -> None:
    kinds = (Kind.TOKEN_REFUSED, Kind.LOGIN_REFUSED, Kind.DHCP_ROGUE, Kind.BMC_ERROR, Kind.SERVICE)
    with store.transaction("test") as tx:
        tx.events.add(*(Event(kind, kind.value, NOW - 91 * DAY) for kind in kinds))
        tx.events.add(*(Event(kind, "new", NOW - 89 * DAY) for kind in kinds))
    assert Retention(store, days=90).step(NOW) == len(kinds)
    assert set(told(store)) == {"new"}


def test_what_was_compiled_for_an_install_goes_when_a_newer_one_has_replaced_it(store: SqlStore) -> None:
    first = install(id=UUID(int=1), armed_at=NOW - 200 * DAY, outcome="complete", files={"boot.ipxe": b"first"})
    second = install(id=UUID(int=2), armed_at=NOW - 100 * DAY, outcome="complete", files={"boot.ipxe": b"second"})
    with store.transaction("test") as tx:
        it = tx.machines.put(machine(install=first))
    keeper = Retention(store, days=90)
    assert keeper.step(NOW) == 0
    with store.transaction("test") as tx:
        tx.machines.put(replace(it, install=second))
    assert keeper.step(NOW + DAY) == 1
    with store.reading() as tx:
        kept = tx.machines.get("node-01").install
    # The latest install's bytes stay, however old it is: a failed machine asks for them again.
    assert kept and kept.files == {"boot.ipxe": b"second"}
    assert keeper.step(NOW + 2 * DAY) == 0


def test_ended_jobs_and_expired_sessions_go_and_those_that_count_stay(store: SqlStore) -> None:
    old, new = NOW - 91 * DAY, NOW - DAY
    user = User(uuid4(), "kim")
    with store.transaction("test") as tx:
        tx.users.put(user)
        for state, at in (("done", old), ("failed", old), ("done", new), ("queued", old), ("running", old)):
            tx.jobs.put(Job(uuid4(), "power", {}, "test", at, state))
        for name, expires in (("over", old), ("today's", new), ("for ever", None)):
            tx.tokens.put(ApiToken(uuid4(), name, user.id, name, "session", created_at=old, expires_at=expires))
    assert Retention(store, days=90).step(NOW) == 3
    with store.reading() as tx:
        assert sorted((job.state, job.created_at) for job in tx.jobs.list()) == [
            ("done", new), ("queued", old), ("running", old),
        ]  # fmt: skip
        assert {token.name for token in tx.tokens.list()} == {"today's", "for ever"}


def test_a_machine_that_uploads_logs_in_a_loop_keeps_its_newest(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happening, "LOGS_KEPT", 3)
    live = replace(machine(), state=State.INSTALLING, install=install())
    with store.transaction("test") as tx:
        tx.machines.put(live)
        tx.events.add(Event(Kind.REPORT_LOG, "of another machine", NOW, uuid4()))
    for number in range(5):
        with store.transaction("machine") as tx:
            carry_out(tx, live, Happening(What.LOG, live.id, UUID(int=1), NOW + number, text=f"log {number}"))
    with store.reading() as tx:
        logs = tx.events.list(machine_id=live.id)
        assert [event.data["text"] for event in logs] == ["log 4", "log 3", "log 2"]
    assert "of another machine" in told(store)
