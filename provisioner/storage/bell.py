"""How a process hears, within milliseconds, that somebody has committed something."""

import threading
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import Engine

from provisioner.domain.errors import StoreUnavailable
from provisioner.storage.database import NOTIFY_CHANNEL, translated

POLL_SECONDS = 0.03
"""SQLite's ``data_version`` costs some microseconds to ask for."""

LOOK_ANYWAY_SECONDS = 2.0
"""A connection that died without a word (a pulled cable) is noticed after this."""


def rings(engine: Engine, stop: threading.Event) -> Generator[int | None]:
    """Yields once at the start, after each foreign commit, and every LOOK_ANYWAY_SECONDS, until ``stop``: the seq
    of the last change where that costs next to nothing to know, else None. Most commits are of events only.

    What was committed after a yield leads to another one: the ear is open before the first. Several commits
    may become one yield. Raises StoreUnavailable when the database goes away.
    """
    with translated():
        holder = engine.raw_connection()
        connection: Any = holder.driver_connection
        # Ours alone from here on; the pool forgets it.
        holder.detach()
        try:
            if engine.dialect.name == "postgresql":
                yield from _notified(connection, stop)
            else:
                yield from _data_version(connection, stop)
        finally:
            holder.close()


def _notified(connection: "psycopg.Connection[Any]", stop: threading.Event) -> Generator[None]:
    connection.autocommit = True
    connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
    yield None
    while not stop.is_set():
        heard = False
        waited = 0.0
        while not heard and waited < LOOK_ANYWAY_SECONDS and not stop.is_set():
            # In slices, so that ``stop`` is seen soon.
            heard = any(True for _ in connection.notifies(timeout=0.2, stop_after=1))
            waited += 0.2
        if connection.broken:
            raise StoreUnavailable("the connection to PostgreSQL was lost")
        if not stop.is_set():
            if not heard:
                connection.execute("SELECT 1")
            yield None


def _data_version(connection: Any, stop: threading.Event) -> Generator[int]:
    known = None
    polls = 0
    while not stop.is_set():
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        polls += 1
        if version != known or polls * POLL_SECONDS >= LOOK_ANYWAY_SECONDS:
            known, polls = version, 0
            (seq,) = connection.execute("SELECT max(seq) FROM changes").fetchone()
            yield seq or 0
        stop.wait(POLL_SECONDS)
