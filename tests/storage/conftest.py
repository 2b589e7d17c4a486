"""Stores on both engines, migrated once and copied for each test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine

from provisioner.storage.database import migrate, open_engine
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.storage import migrated
from tests.storage.postgres import PostgresServer

_names = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system)])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    return request.getfixturevalue("postgres").create(f"empty{next(_names)}")


@pytest.fixture(scope="session")
def migrated_database(postgres: PostgresServer) -> str:
    engine = open_engine(postgres.create("migrated"))
    migrate(engine)
    engine.dispose()
    return "migrated"


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database."""
    if backend == "sqlite":
        return f"sqlite:///{migrated.copy_to(tmp_path / 'db.sqlite')}"
    template = request.getfixturevalue("migrated_database")
    return request.getfixturevalue("postgres").create(f"test{next(_names)}", template)


@pytest.fixture
def engines() -> Iterator[Callable[[str], Engine]]:
    """Opens engines and disposes of them afterwards."""
    opened: list[Engine] = []

    def make(url: str) -> Engine:
        opened.append(open_engine(url))
        return opened[-1]

    yield make
    for engine in opened:
        engine.dispose()


@pytest.fixture
def engine(url: str, engines: Callable[[str], Engine]) -> Engine:
    return engines(url)


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring.open(tmp_path_factory.mktemp("data") / "keys")


@pytest.fixture
def store(engine: Engine, keyring: Keyring) -> SqlStore:
    return SqlStore(engine, keyring)
