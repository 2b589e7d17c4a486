"""Leases: a job is done by one worker at a time, and by another one when its worker dies."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from provisioner.domain.errors import NotFound
from provisioner.domain.records import Job
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore

Engines = Callable[[str], Engine]


def job(created_at: int = 0, kind: str = "power") -> Job:
    return Job(uuid4(), kind, {"machine": "node-01"}, "cli:test", created_at)


def test_the_oldest_job_of_the_asked_kinds_is_leased(store: SqlStore) -> None:
    old, new, other = job(1), job(2), job(0, "harvest")
    with store.transaction("cli:test") as tx:
        for each in (new, old, other):
            tx.jobs.put(each)
    with store.transaction("bmc") as tx:
        taken = tx.jobs.lease(["power", "identify"], now=10, until=20)
        assert taken == replace(old, state="running", lease_until=20)
        assert tx.jobs.lease(["power"], now=10, until=20) == replace(new, state="running", lease_until=20)
        assert tx.jobs.lease(["power"], now=10, until=20) is None
        assert [each.id for each in tx.jobs.list()] == [new.id, old.id, other.id]


def test_a_dead_workers_job_is_taken_over_when_its_lease_ends(store: SqlStore) -> None:
    with store.transaction("bmc") as tx:
        tx.jobs.put(job())
        assert tx.jobs.lease(["power"], now=0, until=20) is not None
        assert tx.jobs.lease(["power"], now=20, until=40) is None
        again = tx.jobs.lease(["power"], now=21, until=40)
        assert again is not None
        assert again.lease_until == 40
        done = tx.jobs.put(replace(again, state="done", done=1, total=1, result={"node-01": "on"}))
        assert tx.jobs.lease(["power"], now=99, until=120) is None
        assert tx.jobs.get(str(again.id)) == done
        tx.jobs.remove(again.id)
        with pytest.raises(NotFound):
            tx.jobs.get(str(again.id))


def test_two_workers_never_get_the_same_job(store: SqlStore, url: str, engines: Engines, keyring: Keyring) -> None:
    with store.transaction("cli:test") as tx:
        for number in range(20):
            tx.jobs.put(job(number))
    taken: list[object] = []

    def work(mine: SqlStore) -> None:
        while True:
            with mine.transaction("bmc") as tx:
                got = tx.jobs.lease(["power"], now=0, until=10)
            if got is None:
                return
            taken.append(got.id)

    workers = [threading.Thread(target=work, args=(SqlStore(engines(url), keyring),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert len(taken) == 20
    assert max(Counter(taken).values()) == 1
