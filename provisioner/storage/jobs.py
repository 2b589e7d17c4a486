"""Long work in a table: leased, so that a dead worker's job is taken over."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, delete, insert, or_, select, update

from provisioner.domain.records import Job
from provisioner.storage.session import Session, found, refuse_version, uuid_or_none
from provisioner.storage.tables import jobs as table

_FIELDS = ("id", "kind", "args", "actor", "created_at", "state", "lease_until", "done", "total", "result")


class JobRows:
    """Implements ``ports.Jobs``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def find(self, ref: str) -> Job | None:
        """By id; jobs have no other name."""
        job_id = uuid_or_none(ref)
        if job_id is None:
            return None
        row = self._run(select(table).where(table.c.id == job_id)).one_or_none()
        return _job(row) if row else None

    def get(self, ref: str) -> Job:
        return found(self.find(ref), "job", ref)

    def list(self) -> Sequence[Job]:
        """Newest first."""
        return [_job(row) for row in self._run(select(table).order_by(table.c.created_at.desc(), table.c.id))]

    def put(self, item: Job, expect_version: int | None = None) -> Job:
        refuse_version("job", expect_version)
        values = {name: getattr(item, name) for name in _FIELDS}
        values |= {"args": dict(item.args), "result": dict(item.result)}
        self._session.change("job", item.id)
        if self._run(update(table).where(table.c.id == item.id).values(values)).rowcount == 0:
            self._run(insert(table), values)
            self._session.record("put", "job", item.id, item.kind, {"kind": [None, item.kind]})
        return item

    def remove(self, item_id: UUID) -> None:
        job = self.get(str(item_id))
        self._session.change("job", item_id)
        self._run(delete(table).where(table.c.id == item_id))
        self._session.record("remove", "job", item_id, job.kind, {})

    def lease(self, kinds: Iterable[str], now: int, until: int) -> Job | None:
        """Writers are serialised, so two workers never take the same job."""
        free = or_(table.c.state == "queued", and_(table.c.state == "running", table.c.lease_until < now))
        oldest = select(table).where(table.c.kind.in_(list(kinds)), free).order_by(table.c.created_at, table.c.id)
        row = self._run(oldest.limit(1)).one_or_none()
        if row is None:
            return None
        self._session.change("job", row.id)
        taken = {"state": "running", "lease_until": until}
        self._run(update(table).where(table.c.id == row.id).values(taken))
        return replace(_job(row), state="running", lease_until=until)

    def unfinished(self, kinds: Iterable[str]) -> Sequence[Job]:
        here = table.c.kind.in_(list(kinds)), table.c.state.in_(("queued", "running"))
        return [_job(row) for row in self._run(select(table).where(*here).order_by(table.c.created_at, table.c.id))]

    def forget(self, *, before: int, limit: int) -> int:
        ended = table.c.state.not_in(("queued", "running"))
        old = select(table.c.id).where(ended, table.c.created_at < before)
        ids = self._run(old.order_by(table.c.created_at).limit(limit)).scalars().all()
        for job_id in ids:
            self._session.change("job", job_id)
        if ids:
            self._run(delete(table).where(table.c.id.in_(ids)))
        return len(ids)


def _job(row: Row[Any]) -> Job:
    return Job(**{name: getattr(row, name) for name in _FIELDS})
