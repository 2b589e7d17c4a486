"""Events: the timeline of everything, and its live stream."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import Header, Query, Request
from fastapi.sse import ServerSentEvent
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from provisioner.actions import accounts
from provisioner.actions.accounts import Access
from provisioner.domain.errors import InvalidValue, StoreUnavailable
from provisioner.domain.events import Event
from provisioner.web.api.paging import Limit, Page
from provisioner.web.api.times import moment
from provisioner.web.auth import access
from provisioner.web.parts import Parts

TICK = 0.2
"""Seconds between two looks: an event shows within a quarter of a second."""
BATCH = 500
TRUSTED = 5.0
"""Seconds between two looks whether the token or session that opened a stream is still good."""
_BIG = frozenset({"text"})
"""Uploaded logs have an address of their own; in lists they would be megabytes."""


class EventOut(BaseModel):
    """One entry of a timeline. ``id`` orders them; ``message`` is a sentence."""

    id: int
    at: datetime
    kind: str
    message: str
    machine_id: str | None
    mac: str | None
    phase: str | None
    actor: str
    data: dict[str, Any]


def shown(event: Event) -> EventOut:
    return EventOut(
        id=event.id,
        at=moment(event.at),
        kind=event.kind,
        message=event.message,
        machine_id=str(event.machine_id) if event.machine_id else None,
        mac=str(event.mac) if event.mac else None,
        phase=event.phase,
        actor=event.actor,
        data={key: value for key, value in event.data.items() if key not in _BIG},
    )


class Events:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(
        self,
        machine: Annotated[str, Query(description="Name, id, MAC or address; empty: all.")] = "",
        after: Annotated[int | None, Query(ge=0, le=2**62, description="Oldest first from behind this id.")] = None,
        before: Annotated[int | None, Query(ge=1, le=2**62, description="Newest first from before it.")] = None,
        limit: Limit = 100,
    ) -> Page[EventOut]:
        """Without ``after``: newest first, and ``next`` is the next page's ``before``."""
        if after is not None and before is not None:
            raise InvalidValue("before", before, "stands beside after", "give one of the two")
        with self._parts.store.reading() as tx:
            machine_id = tx.machines.get(machine).id if machine else None
            # The port takes 0 for "not given"; ids begin at 1.
            start = 0 if after is None else after or -1
            found = tx.events.list(machine_id=machine_id, after=start, before=before, limit=limit)
        return Page(
            items=[shown(event) for event in found],
            next=str(found[-1].id) if len(found) == limit else None,
        )

    async def stream(
        self,
        request: Request,
        after: Annotated[int | None, Query(ge=0, le=2**62, description="Begin behind this event.")] = None,
        last_event_id: Annotated[str | None, Header(description="Sent by browsers that reconnect.")] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        """Every event as it happens; after a lost connection it resumes where it was. It ends with the token."""
        who, asked = access(request), time.monotonic()
        position = _position(last_event_id, after)
        if position is None:
            position = await run_in_threadpool(self._newest)
        yield ServerSentEvent(comment="connected", retry=1000)
        while not (self._parts.stopping.is_set() or await request.is_disconnected()):
            try:
                if time.monotonic() - asked > TRUSTED:
                    if not await run_in_threadpool(self._trusted, who):
                        return
                    asked = time.monotonic()
                found = await run_in_threadpool(self._behind, position)
            except StoreUnavailable:
                # The reader stays: the dot on the page tells, and the position is kept.
                found = []
            for event in found:
                position = event.id
                yield ServerSentEvent(data=shown(event).model_dump(mode="json"), event=event.kind, id=str(event.id))
            if len(found) < BATCH:
                await asyncio.sleep(TICK)

    def _trusted(self, who: Access) -> bool:
        return accounts.still_holds(self._parts.store, who, self._parts.clock())

    def _newest(self) -> int:
        with self._parts.store.reading() as tx:
            newest = tx.events.list(limit=1)
        return newest[0].id if newest else 0

    def _behind(self, position: int) -> list[Event]:
        with self._parts.store.reading() as tx:
            return list(tx.events.list(after=position or -1, limit=BATCH))


def _position(last_event_id: str | None, after: int | None) -> int | None:
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        return min(int(last_event_id[:18]), 2**62)
    return after
