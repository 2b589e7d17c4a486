"""A database of an older revision is brought up with all that stands in it; from the first, through every step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import BigInteger, Engine, insert, inspect, select, text

from provisioner.domain.bmc import Bmc
from provisioner.domain.cluster import Cluster
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.machine import Phase, State
from provisioner.domain.records import ApiToken, Credential, Job, PhaseRecord, RoleRevision, User
from provisioner.storage import tables
from provisioner.storage.database import known_revisions, migrate, migrations_folder, reading, writing
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.domain.samples import NOW, install, machine, subnet

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def full(store: SqlStore) -> None:
    """Something in every table that the first revision had."""
    with store.transaction("cli:test") as tx:
        credential = tx.credentials.put(Credential(uuid4(), "bmc 10.9.0.1", "admin", "pw"))
        bmc = tx.bmcs.put(Bmc(uuid4(), "10.9.0.1", credential_id=credential.id))
        tx.subnets.put(replace(subnet(), domain="rack.example"))
        tx.clusters.put(Cluster(uuid4(), "blue", "10.12.1.10:6443"))
        files = {"boot.ipxe": b"#!ipxe", "install.sh": b"#!/bin/bash"}
        made = machine(state=State.ARMED, install=install(files=files), bmc_id=bmc.id, labels={"site": "zh"})
        tx.machines.put(made)
        tx.machines.put_phase(PhaseRecord(install().id, Phase.LOADER, NOW, NOW))
        tx.events.add(Event(Kind.MACHINE_STATE, "ready → armed", NOW, made.id, made.boot_mac, data={"to": "armed"}))
        tx.see([Sighting(made.macs[0], "dhcp", NOW, "DISCOVER")])
        tx.jobs.put(
            Job(uuid4(), "power", {"machines": [str(made.id)], "operation": "on"}, "user:ada", NOW, total=1)
        )
        user = tx.users.put(User(uuid4(), "ada", "$argon2id$", NOW))
        tx.tokens.put(ApiToken(uuid4(), "ci", user.id, "hash", "bearer", created_at=NOW))
        tx.put_role_revision(RoleRevision("simple", "r1", {"role.yaml": b"image: flatcar"}, NOW))


def read(engine: Engine) -> Rows:
    """Every row of every table that is there, in the columns that are there."""
    with reading(engine) as connection:
        there = inspect(connection)
        return {
            table.name: [
                row._asdict()
                for row in connection.execute(
                    select(*(table.c[column["name"]] for column in there.get_columns(table.name))).order_by(
                        *table.primary_key
                    )
                )
            ]
            for table in tables.metadata.sorted_tables
            if there.has_table(table.name)
        }


def at_revision(engine: Engine, revision: str, content: Rows) -> None:
    """The database as the program of that revision had it."""
    with writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        there = inspect(connection)
        for table in tables.metadata.sorted_tables:
            if there.has_table(table.name) and content[table.name]:
                names = {column["name"] for column in there.get_columns(table.name)}
                rows = [{key: value for key, value in row.items() if key in names} for row in content[table.name]]
                connection.execute(insert(table), rows)
                if engine.dialect.name == "postgresql" and isinstance(
                    table.primary_key.columns[0].type, BigInteger
                ):
                    # Rows that bring their numbers along do not move PostgreSQL's counter.
                    number = table.primary_key.columns[0].name
                    counter = f"pg_get_serial_sequence('{table.name}', '{number}')"
                    connection.execute(text(f"SELECT setval({counter}, max({number})) FROM {table.name}"))


@pytest.mark.parametrize("revision", [known_revisions()[0], known_revisions()[-2]])
def test_nothing_is_lost_on_the_way_up(
    engine: Engine, empty_url: str, engines: Callable[[str], Engine], keyring: Keyring, revision: str
) -> None:
    now = SqlStore(engine, keyring)
    full(now)
    content = read(engine)
    old = engines(empty_url)
    at_revision(old, revision, content)
    before = read(old)
    assert migrate(old)
    after = read(old)
    for name, rows in before.items():
        kept = [{key: row[key] for key in rows[0]} for row in after[name]] if rows else []
        assert kept == list(rows), f"{name} from revision {revision}"
    assert all(before[name] for name in ("installs", "install_files", "reports", "events", "audit", "changes"))
    then = SqlStore(old, keyring)
    assert then.inventory() == now.inventory()
    with then.transaction("cli:test") as tx:
        assert tx.credentials.get("bmc 10.9.0.1").password == "pw"
        tx.machines.put(replace(tx.machines.get("node-01"), state=State.READY))
