"""Events and sightings: what happened, and which MACs were seen."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.machine import Phase
from provisioner.storage import tables
from provisioner.storage.session import Session

SIGHTINGS_KEPT = 20_000
"""A flood of invented MACs pushes out the oldest sightings instead of filling the disk."""


class EventRows:
    """Implements ``ports.Events``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def add(self, *events: Event) -> None:
        """In this order. An event without an actor gets the transaction's."""
        if not events:
            return
        self._session.touch()
        rows = [
            {
                "kind": event.kind,
                "message": event.message,
                "at": event.at,
                "machine_id": event.machine_id,
                "mac": event.mac,
                "phase": event.phase,
                "actor": event.actor or self._session.actor,
                "data": dict(event.data),
            }
            for event in events
        ]
        # Parameters beside the statement, not in it: that is what makes batches fast.
        self._run(insert(tables.events), rows if len(rows) > 1 else rows[0])

    def list(
        self, *, machine_id: UUID | None = None, after: int = 0, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        t = tables.events
        query = select(t).limit(limit)
        if machine_id is not None:
            query = query.where(t.c.machine_id == machine_id)
        if before is not None:
            query = query.where(t.c.id < before)
        query = query.where(t.c.id > after).order_by(t.c.id) if after else query.order_by(t.c.id.desc())
        return [_event(row) for row in self._run(query)]

    def forget(self, kinds: Iterable[Kind], *, before: int, limit: int) -> int:
        t, m, i = tables.events, tables.machines, tables.installs
        live = select(m.c.id).join(i, i.c.id == m.c.install_id).where(i.c.outcome == "")
        old = select(t.c.id).where(
            t.c.kind.in_(list(kinds)),
            t.c.at < before,
            or_(t.c.machine_id.is_(None), t.c.machine_id.not_in(live)),
        )
        ids = self._run(old.order_by(t.c.id).limit(limit)).scalars().all()
        if ids:
            self._session.touch()
            self._run(delete(t).where(t.c.id.in_(ids)))
        return len(ids)

    def keep_newest(self, kind: Kind, machine_id: UUID, most: int) -> None:
        t = tables.events
        of_it = select(t.c.id).where(t.c.machine_id == machine_id, t.c.kind == kind).order_by(t.c.id.desc())
        surplus = self._run(of_it.offset(most).limit(1000)).scalars().all()
        if surplus:
            self._session.touch()
            self._run(delete(t).where(t.c.id.in_(surplus)))

    def latest(self, machine_ids: Iterable[UUID]) -> Mapping[UUID, Event]:
        t = tables.events
        newest = select(func.max(t.c.id)).where(t.c.machine_id.in_(list(machine_ids))).group_by(t.c.machine_id)
        return {row.machine_id: _event(row) for row in self._run(select(t).where(t.c.id.in_(newest)))}


def _event(row: Row[Any]) -> Event:
    return Event(
        kind=Kind(row.kind),
        message=row.message,
        at=row.at,
        machine_id=row.machine_id,
        mac=row.mac,
        phase=Phase(row.phase) if row.phase else None,
        actor=row.actor,
        data=row.data,
        id=row.id,
    )


def put_sightings(session: Session, sightings: Iterable[Sighting]) -> None:
    """Note when and where each MAC was seen last; keeps the newest ``SIGHTINGS_KEPT``."""
    t, run = tables.sightings, session.connection.execute
    rows = [
        {
            "mac": seen.mac,
            "source": seen.source,
            "first_at": seen.at,
            "last_at": seen.at,
            "count": 1,
            "detail": seen.detail,
        }
        for seen in sightings
    ]
    if not rows:
        return
    session.touch()
    # Both engines have it, each under its own name; one statement for all, since a room of strangers comes at once.
    on_postgres = session.connection.dialect.name == "postgresql"
    put = postgresql.insert(t) if on_postgres else sqlite.insert(t)
    again = {"last_at": put.excluded.last_at, "detail": put.excluded.detail, "count": t.c.count + 1}
    run(put.on_conflict_do_update(index_elements=[t.c.mac, t.c.source], set_=again), rows)
    if run(select(func.count()).select_from(t)).scalar_one() > SIGHTINGS_KEPT:
        oldest_kept = select(t.c.last_at).order_by(t.c.last_at.desc()).offset(SIGHTINGS_KEPT - 1).limit(1)
        run(delete(t).where(t.c.last_at < oldest_kept.scalar_subquery()))


def read_sightings(session: Session, limit: int) -> Sequence[Sighting]:
    """The newest first."""
    t = tables.sightings
    rows = session.connection.execute(select(t).order_by(t.c.last_at.desc(), t.c.mac).limit(limit))
    return [Sighting(row.mac, row.source, row.last_at, row.detail) for row in rows]
