"""Engines for SQLite and PostgreSQL, their transactions, migrations, and errors in the domain's words.

Writers are serialised on both engines: SQLite by BEGIN IMMEDIATE, PostgreSQL by an advisory lock that lasts
until commit. So what a transaction has read stays true until it writes, and the order of ``changes.seq`` is
the order of commits, which the change feed relies on.
"""

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.engine import URL, make_url

import provisioner
from provisioner.domain.errors import Conflict, InvalidValue, Refused, StoreUnavailable

BUSY_SECONDS = 5
"""How long a transaction waits for another writer before it gives up."""

NOTIFY_CHANNEL = "provisioner"
_WRITERS_LOCK = 0x70726F76
"""The key of PostgreSQL's advisory lock ("prov" in ASCII)."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


def open_engine(url: str) -> Engine:
    """An engine for ``sqlite:///FILE`` or ``postgresql://…``. Nothing is connected yet.

    Raises InvalidValue for anything else. A new SQLite file is made readable to its owner only.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except exc.ArgumentError:
        raise _bad_url("(hidden)", "is not a database URL") from None
    if backend == "sqlite":
        return _open_sqlite(parsed)
    if backend in ("postgresql", "postgres"):
        return _open_postgresql(parsed)
    raise _bad_url(parsed.render_as_string(hide_password=True), "is neither SQLite nor PostgreSQL")


def _bad_url(shown: str, why: str) -> InvalidValue:
    return InvalidValue(
        "database_url", shown, why, "write sqlite:////var/lib/provisioner/db.sqlite or postgresql://user@host/db"
    )


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise _bad_url(str(url), "names no file that several processes could share")
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        pool_timeout=BUSY_SECONDS,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # None: the driver begins nothing by itself, so that DDL and BEGIN IMMEDIATE are ours.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _open_postgresql(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": BUSY_SECONDS,
            "keepalives_idle": BUSY_SECONDS,
            "tcp_user_timeout": BUSY_SECONDS * 1000,
            "application_name": "provisioner",
            "options": f"-c lock_timeout={BUSY_SECONDS * 1000} -c statement_timeout={6 * BUSY_SECONDS * 1000}",
        },
    )


_turns: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_making_turns = threading.Lock()


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Threads of one process queue here: SQLite's own waiting is polling, and starves whom luck forgets."""
    with _making_turns:
        lock = _turns.setdefault(engine, threading.Lock())
    if not lock.acquire(timeout=BUSY_SECONDS):
        raise StoreUnavailable(f"another writer held the database for {BUSY_SECONDS} seconds")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writing transaction; rolled back when the body raises."""
    with (
        _turn(engine),
        translated(),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database that waits for no writer."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with translated(), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Database errors in the domain's words: StoreUnavailable for what time may heal, Conflict for the rest."""
    try:
        yield
    except exc.IntegrityError as error:
        raise _conflict(error) from error
    except exc.TimeoutError as error:
        raise StoreUnavailable("all database connections are busy") from error
    except (exc.ProgrammingError, exc.DataError):
        raise
    except exc.DBAPIError as error:
        raise StoreUnavailable(f"the database cannot be used now: {_said(error.orig)}") from error
    except (sqlite3.OperationalError, sqlite3.DatabaseError, psycopg.OperationalError) as error:
        # Raised while a connection is being prepared, before SQLAlchemy wraps what the driver says.
        raise StoreUnavailable(f"the database cannot be used now: {_said(error)}") from error


def _said(error: BaseException | None) -> str:
    """What the driver says on its first line, and what to look at."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    remedy = next((remedy for words, remedy in _LOOK_AT.items() if words in said), "")
    return f"{said}; {remedy}" if remedy else said


_LOOK_AT = {
    "Connection refused": "does PostgreSQL run there, and listen on that address? see database_url",
    "failed to resolve host": "check the host's name in database_url",
    "timeout expired": "is the host in database_url up, and does a firewall let PostgreSQL through?",
    "password authentication failed": "correct user and password in database_url",
    "does not exist": "make it with PostgreSQL's createuser or createdb, or correct database_url",
    "readonly database": "give the file to the user of the services: `chown provisioner: FILE`",
    "unable to open database file": "may this user write there? run as its owner or as root",
    "disk is full": "free some space; `df -h` shows where it lacks",
    "disk I/O error": "is its disk full (`df -h`), or failing (`dmesg`)?",
    "file is not a database": "it is damaged or something else's: move it away, then `provisioner db restore FILE`",
    "malformed": "it is damaged: move it away, then `provisioner db restore FILE`",
}
"""What each driver's words ask for."""


def _conflict(error: exc.IntegrityError) -> Conflict:
    """A constraint that no repository checked beforehand: say at least which."""
    found = re.search(
        r"UNIQUE constraint failed: (\w+)\.(\w+)|Key \((?P<pg>[^)]+)\)=\((?P<value>[^)]*)\)", str(error)
    )
    field, value = "value", "given"
    if found:
        field = found["pg"] or f"{found[1]}.{found[2]}"
        value = found["value"] or value
    return Conflict(field, value, "another record", "read it again, change that value, and try once more")


def migrations_folder() -> Path:
    """Where the migrations are: beside the package in a source tree, or packaged with it."""
    package = Path(provisioner.__file__).parent
    for folder in (package.parent / "migrations", package / "_migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Refused("the database migrations are missing", "reinstall provisioner, its package is incomplete")


def known_revisions() -> list[str]:
    """Revision ids, oldest first. A file is called ``NNNN_what.py`` and NNNN is its revision id."""
    return sorted(path.name.split("_", 1)[0] for path in (migrations_folder() / "versions").glob("[0-9]*_*.py"))


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at, or None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(engine: Engine, before: Callable[[str], None] | None = None) -> bool:
    """Bring the database to this program's tables, all or nothing. True if anything had to be done.

    ``before(revision)`` is called once before a database that has content is changed, while no other process can
    write to it: the place for a backup. What it raises leaves the database as it was.
    Raises Refused for a database that a newer program has migrated, StoreUnavailable if it cannot be reached.
    """
    revisions = known_revisions()
    with reading(engine) as connection:
        if _checked(connection, revisions) == revisions[-1]:
            return False
    with writing(engine) as connection:
        # Another process may have migrated while this one waited for the lock.
        current = _checked(connection, revisions)
        if current == revisions[-1]:
            return False
        if current is not None and before is not None:
            before(current)
        _upgrade(connection)
    return True


def _checked(connection: Connection, revisions: list[str]) -> str | None:
    current = current_revision(connection)
    if current is not None and current not in revisions:
        raise Refused(
            f"the database is at revision {current}, this program knows up to {revisions[-1]}",
            "run the newer program that migrated it, or restore the backup made before",
        )
    return current


def _upgrade(connection: Connection) -> None:
    # Here and not at the top: it takes a tenth of a second, and most starts have nothing to migrate.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
