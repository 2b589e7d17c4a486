"""A fresh database, migrated once a process: migrating one takes longer than most tests, copying it nothing."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from provisioner.storage.database import migrate, open_engine


def copy_to(file: Path) -> Path:
    """An empty inventory in a new SQLite file, at this program's revision."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(_content())
    return file


@cache
def _content() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        engine = open_engine(f"sqlite:///{file}")
        migrate(engine)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return file.read_bytes()
