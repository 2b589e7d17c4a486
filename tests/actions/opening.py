"""A fresh store on disk, migrated, for tests of use cases."""

from collections.abc import Collection
from pathlib import Path

from provisioner.domain.machine import IPAddress
from provisioner.storage.database import open_engine
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.domain.samples import NOW
from tests.storage import migrated

__all__ = ["NOW", "open_store"]


def open_store(folder: Path, ours: Collection[IPAddress] = ()) -> SqlStore:
    """An empty inventory in a data directory of its own. ``ours``: the appliance's addresses."""
    engine = open_engine(f"sqlite:///{migrated.copy_to(folder / 'provisioner.db')}")
    return SqlStore(engine, Keyring.open(folder / "keys"), ours=ours)
