"""Migrations, engines and the errors they turn into."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import JSON, Column, Engine, inspect, text

from provisioner.domain.errors import Conflict, InvalidValue, Refused, StoreUnavailable
from provisioner.storage import database, tables
from provisioner.storage.database import migrate, open_engine, reading, writing
from provisioner.storage.store import SqlStore
from tests.domain.samples import machine

Engines = Callable[[str], Engine]


def test_an_empty_database_is_migrated_once(empty_url: str, engines: Engines) -> None:
    engine = engines(empty_url)
    assert migrate(engine) is True
    assert migrate(engine) is False
    assert {*tables.metadata.tables, "alembic_version"} == set(inspect(engine).get_table_names())


def other_default(
    _context: object, _there: object, column: Column[Any], there: str | None, _wanted: object, wanted: str | None
) -> bool | None:
    """PostgreSQL has no '=' for JSON to compare defaults by; None: compare as usual."""
    if not isinstance(column.type, JSON) or there is None or wanted is None:
        return None
    return there.removesuffix("::json").strip("'") != wanted.strip("'")


def test_the_migrations_make_exactly_the_tables_of_the_program(engine: Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": other_default}
        )
        assert compare_metadata(context, tables.metadata) == []


def test_two_processes_that_start_at_once_migrate_once(empty_url: str, engines: Engines) -> None:
    engines_at_once = [engines(empty_url) for _ in range(4)]
    done: list[bool | BaseException] = []

    def start(engine: Engine) -> None:
        try:
            done.append(migrate(engine))
        except BaseException as error:
            done.append(error)

    threads = [threading.Thread(target=start, args=(engine,)) for engine in engines_at_once]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(str, done)) == ["False", "False", "False", "True"]


def test_a_failing_migration_leaves_nothing_behind(
    empty_url: str, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    source = database.migrations_folder()
    for name in ("env.py", "script.py.mako"):
        (folder / name).write_text((source / name).read_text())
    (folder / "versions" / "0001_half.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "    op.execute('SELECT * FROM not_there')\n"
    )
    monkeypatch.setattr(database, "migrations_folder", lambda: folder)
    engine = engines(empty_url)
    with pytest.raises(Exception, match="not_there"):
        migrate(engine)
    assert inspect(engine).get_table_names() == []


def test_a_database_of_a_newer_program_is_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Refused, match=r"revision 9999.*run the newer program"):
        migrate(engine)


def test_migrations_are_in_one_line_and_called_by_their_ids() -> None:
    revisions = database.known_revisions()
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    for path in sorted((database.migrations_folder() / "versions").glob("*.py")):
        assert f'revision = "{path.name[:4]}"' in path.read_text()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://u:hunter2@h/d", "neither SQLite nor PostgreSQL"),
        ("sqlite://", "names no file"),
        ("not a url", "is not a database URL"),
    ],
)
def test_other_database_urls_are_refused_without_showing_the_password(url: str, shown: str) -> None:
    with pytest.raises(InvalidValue, match=shown) as refused:
        open_engine(url)
    assert "hunter2" not in str(refused.value)
    assert "database_url" in str(refused.value)


def test_the_sqlite_file_is_for_its_owner_and_durable(tmp_path: Path, engines: Engines) -> None:
    engine = engines(f"sqlite:///{tmp_path}/sub/new.db")
    migrate(engine)
    assert stat.S_IMODE((tmp_path / "sub" / "new.db").stat().st_mode) == 0o600
    with reading(engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, engines: Engines) -> None:
    (tmp_path / "x.db").write_text("hello, this is a letter and not a database at all" * 20)
    with pytest.raises(StoreUnavailable, match="not a database"):
        migrate(engines(f"sqlite:///{tmp_path}/x.db"))


@pytest.mark.system
def test_an_absent_server_is_unavailable_at_once(tmp_path: Path, engines: Engines) -> None:
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        migrate(engines(f"postgresql://u@/d?host={tmp_path}"))
    assert time.monotonic() - started < 10


def test_a_constraint_nobody_looked_up_first_still_names_its_field(engine: Engine) -> None:
    slot = "INSERT INTO users (id, name, password_hash, created_at) VALUES (:id, 'ann', '', 0)"
    with pytest.raises(Conflict, match="name"), writing(engine) as connection:
        connection.execute(text(slot), {"id": "00000000000000000000000000000001"})
        connection.execute(text(slot), {"id": "00000000000000000000000000000002"})


@pytest.mark.rule("fault-04")
def test_a_locked_database_refuses_writers_in_bounded_time_and_lets_readers_read(
    store: SqlStore, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    monkeypatch.setattr(database, "_PRAGMAS", ("PRAGMA busy_timeout = 1000", *database._PRAGMAS[1:]))
    hasty = SqlStore(engines(store.engine.url.render_as_string(hide_password=False)), store._keyring)
    with store.transaction("cli:holder") as held:
        held.machines.put(machine())
        started = time.monotonic()
        with pytest.raises(StoreUnavailable), hasty.transaction("cli:late"):
            pass
        assert time.monotonic() - started < 5
        with hasty.reading() as view:
            assert view.machines.list() == []
    with hasty.transaction("cli:late") as tx:
        assert len(tx.machines.list()) == 1


def test_many_threads_that_count_together_lose_nothing(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        counted = tx.machines.put(machine(labels={"n": "0"}))

    def count() -> None:
        for _ in range(5):
            with store.transaction("cli:test") as tx:
                found = tx.machines.get("node-01")
                tx.machines.put(replace(found, labels={"n": str(int(found.labels["n"]) + 1)}))

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with store.reading() as view:
        assert view.machines.get("node-01").labels == {"n": "30"}
        assert view.machines.get("node-01").version == counted.version + 30


CRASH = """
import os, sys
from pathlib import Path
from provisioner.storage.database import open_engine
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.domain.samples import machine
store = SqlStore(open_engine(sys.argv[1]), Keyring.open(Path(sys.argv[2])))
with store.transaction("cli:first") as tx:
    tx.machines.put(machine("kept"))
with store.transaction("cli:second") as tx:
    tx.machines.put(machine("lost", mac="52:54:00:00:00:02", ip="10.12.1.18"))
    print("written", flush=True)
    sys.stdin.read()
"""


def test_a_process_killed_inside_a_transaction_leaves_the_last_commit(
    url: str, store: SqlStore, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", CRASH, url, str(tmp_path / "keys")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    with store.transaction("cli:after") as tx:
        assert [found.name for found in tx.machines.list()] == ["kept"]


def test_a_program_without_its_migrations_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site" / "provisioner"
    (package / "_migrations").mkdir(parents=True)
    monkeypatch.setattr(database.provisioner, "__file__", str(package / "__init__.py"))
    with pytest.raises(Refused, match="reinstall"):
        database.migrations_folder()
    (package / "_migrations" / "env.py").touch()
    assert database.migrations_folder() == package / "_migrations"


def test_anything_else_the_driver_says_is_not_hidden(engine: Engine) -> None:
    with pytest.raises(Exception, match="no_such_table"), writing(engine) as connection:
        connection.execute(text("SELECT * FROM no_such_table"))
    with reading(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
