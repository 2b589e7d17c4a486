"""Server-sent events for htmx: what changed, as HTML that is swapped by id."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from provisioner.web import auth
from provisioner.web.pages.changes import BoardChange, BoardWatch, DrawerChange, DrawerWatch
from provisioner.web.pages.render import fragment

TICK = 0.25
"""Seconds between two looks."""

QUIET = 15
"""Seconds after which a comment is sent, so that a dead connection is noticed by either side."""

LIFETIME = 300
"""Seconds after which the page connects anew: a session that was ended sees nothing for longer."""

ANEW = "event: page:anew\ndata: \n\n"
"""Tells the page to load itself again."""


def of_board(request: Request, watch: BoardWatch) -> StreamingResponse:
    """Rows and strip."""
    return _response(request, partial(board_told, watch), watch.looks.desk.parts.stopping)


def board_told(watch: BoardWatch) -> str:
    """The next event for this page; empty: nothing changed."""
    change = watch.step()
    return _board_message(change, str(watch.position)) if change else ""


def of_drawer(request: Request, watch: DrawerWatch) -> StreamingResponse:
    """State, timeline and buttons of one machine."""
    csrf = auth.csrf_token(request)

    def told() -> str:
        change = watch.step()
        return _drawer_message(change, str(watch.position), csrf) if change else ""

    return _response(request, told, watch.desk.parts.stopping)


def _board_message(change: BoardChange, position: str) -> str:
    if change.begun:
        return ANEW
    shown = change.board
    html = fragment(
        "_changes.html",
        rows=change.rows,
        whole=change.whole,
        strip=change.strip or shown.strip,
        strip_changed=change.strip is not None,
        view=shown.view,
        now=shown.now,
        available=shown.readings.available,
        rogues=shown.rogues,
        lease_fault=shown.lease_fault,
    )
    return message(html, position)


def _drawer_message(change: DrawerChange, position: str, csrf: str) -> str:
    if change.drawer is None:
        return ANEW
    html = fragment("_drawer_changes.html", drawer=change.drawer, acts_changed=change.acts, csrf=csrf)
    return message(html, position)


def message(html: str, position: str) -> str:
    """One event. Line breaks of any kind inside the HTML become ``data`` lines (HTML standard, 9.2.6)."""
    data = "".join(f"data: {line}\n" for line in html.splitlines() if line.strip())
    return f"id: {position}\n{data}\n"


def _response(request: Request, told: Callable[[], str], stopping: threading.Event) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        # The page says "live" as soon as this arrives.
        yield ": connected\n\n"
        quiet = 0.0
        for _ in range(int(LIFETIME / TICK)):
            if stopping.is_set() or await request.is_disconnected():
                return
            text = await run_in_threadpool(told)
            if text or quiet >= QUIET:
                yield text or ": still here\n\n"
                quiet = 0.0
            if text == ANEW:
                return
            await asyncio.sleep(TICK)
            quiet += TICK

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)
