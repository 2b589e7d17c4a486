"""A backup of either engine, made while somebody writes, brings back what was. The commands are in tests/cli."""

import io
from pathlib import Path

import pytest
from sqlalchemy import Engine

from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.storage import backup
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.domain.samples import NOW, install, machine, subnet


@pytest.fixture
def store(engine: Engine, tmp_path: Path) -> SqlStore:
    """With its keys where a data directory has them."""
    return SqlStore(engine, Keyring.open(tmp_path / "data" / "keys"))


def test_a_restore_brings_back_what_was(store: SqlStore, engine: Engine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with store.transaction("cli:test") as tx:
        tx.subnets.put(subnet())
        kept = tx.machines.put(machine(install=install(files={"boot.ipxe": b"#!ipxe"})))
        tx.events.add(Event(Kind.SERVICE, "before", NOW))
    before = store.inventory()
    out = io.BytesIO()
    with store.transaction("cli:late") as tx:
        tx.events.add(Event(Kind.SERVICE, "not committed when the backup was made", NOW))
        made = backup.make(engine, data, out, now=NOW)
    assert made.engine == engine.dialect.name
    with store.transaction("cli:test") as tx:
        tx.machines.remove(kept.id)
        tx.machines.put(machine("node-02", "52:54:00:00:00:02", "10.12.1.18"))

    out.seek(0)
    with pytest.raises(Refused, match="--replace"):
        backup.restore(engine, data, out, now=NOW + 1)
    out.seek(0)
    backup.restore(engine, data, out, now=NOW + 1, replace=True)
    assert store.inventory() == before
    with store.reading() as tx:
        assert tx.machines.get("node-01") == kept
        assert [event.message for event in tx.events.list(limit=5)] == ["before"]
    # It goes on from there: ids are counted up, not drawn twice.
    with store.transaction("cli:test") as tx:
        tx.machines.put(machine("node-02", "52:54:00:00:00:02", "10.12.1.18"))
        tx.events.add(Event(Kind.SERVICE, "after", NOW))
    assert sorted(store.inventory().names) == ["node-01", "node-02"]

    safety = data / "backups" / f"before-restore-{NOW + 1}.tar"
    with safety.open("rb") as file:
        backup.restore(engine, data, file, now=NOW + 2, replace=True)
    assert sorted(store.inventory().names) == ["node-02"]
