"""Backups: one tar that holds the database as of one moment, and what is needed to trust and restore it.

Members: ``manifest.json`` (versions, digests, which keys encrypted the passwords), ``database.sqlite`` or
``database.pgdump``, ``leases.sqlite`` and ``journal.jsonl`` where there are any, and ``keys/*`` only when asked
for. SQLite is copied by its own backup interface and PostgreSQL by pg_dump: both see one consistent state while
the services go on writing.
"""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, BinaryIO, cast

from sqlalchemy import Engine, inspect

from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.storage.database import current_revision, known_revisions, reading, translated

_FORMAT = 1
_DATABASES = {"sqlite": "database.sqlite", "postgresql": "database.pgdump"}
_LEASES = "leases.sqlite"
_JOURNAL = "journal.jsonl"
_KEYS = ("credentials.keys", "tokens.key")
_KNOWN = {*_DATABASES.values(), _LEASES, _JOURNAL, *(f"keys/{name}" for name in _KEYS)}
_PG_SECONDS = 3600


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. ``made_at``: UTC microseconds."""

    format: int
    program: str
    engine: str
    revision: str
    made_at: int
    keys: str
    """Fingerprint of the keys that the database's passwords are encrypted with; the keys are random, so it
    reveals nothing of them."""
    with_keys: bool
    members: dict[str, str] = field(default_factory=dict)
    """Member → SHA-256."""


def make(engine: Engine, data_dir: Path, out: BinaryIO, *, now: int, with_keys: bool = False) -> Manifest:
    """Write a backup to ``out``. Raises Refused, StoreUnavailable.

    ``with_keys``: whoever reads the result can read every BMC password in it.
    """
    with translated(), reading(engine) as connection:
        revision = current_revision(connection)
    if revision is None:
        raise Refused("the database is empty", "there is nothing to back up before the first command has run")
    with _workshop(data_dir) as folder:
        name = _DATABASES[engine.dialect.name]
        if engine.dialect.name == "sqlite":
            _copy_sqlite(Path(str(engine.url.database)), folder / name)
        else:
            _run_pg("pg_dump", engine, "--format=custom", "--no-owner", f"--file={folder / name}")
        if (data_dir / "leases.db").exists():
            _copy_sqlite(data_dir / "leases.db", folder / _LEASES)
        with suppress(FileNotFoundError):
            shutil.copy(data_dir / _JOURNAL, folder / _JOURNAL)
        if with_keys:
            (folder / "keys").mkdir()
            for key in _KEYS:
                shutil.copy(data_dir / "keys" / key, folder / "keys" / key)
        members = {
            str(path.relative_to(folder)): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
        }
        manifest = Manifest(
            format=_FORMAT,
            program=version("provisioner"),
            engine=engine.dialect.name,
            revision=revision,
            made_at=now,
            keys=fingerprint(data_dir / "keys"),
            with_keys=with_keys,
            members=members,
        )
        text = json.dumps(asdict(manifest), indent=2).encode()
        with tarfile.open(fileobj=out, mode="w|") as tar:
            head = tarfile.TarInfo("manifest.json")
            head.size, head.mode, head.mtime = len(text), 0o600, now // 1_000_000
            tar.addfile(head, io.BytesIO(text))
            for member in members:
                tar.add(folder / member, member, filter=_anonymous)
    return manifest


def make_file(engine: Engine, data_dir: Path, file: Path, *, now: int, with_keys: bool = False) -> Manifest:
    """A backup in a new file that only its owner can read; complete or not there at all."""
    if file.exists():
        raise Refused(f"{file} exists", "name a new file: a backup never overwrites another")
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            manifest = make(engine, data_dir, out, now=now, with_keys=with_keys)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(file)
    except OSError as error:
        raise Refused(
            f"backup {str(file)!r} cannot be written ({error.strerror})", "name a folder you may write, with room"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def forget_oldest(folder: Path, kept: int) -> list[Path]:
    """Remove all but the newest ``kept`` backups whose names are dates; which ones went.

    Those from before an upgrade or a restore, and whatever a person put there, stay.
    """
    dated = sorted(folder.glob("[0-9]" * 8 + "T" + "[0-9]" * 6 + "Z.tar"))
    old = dated[:-kept]
    for file in old:
        file.unlink(missing_ok=True)
    return old


def restore(engine: Engine, data_dir: Path, source: BinaryIO, *, now: int, replace: bool = False) -> Manifest:
    """Put a backup in the place of the database. Everything is checked before anything is touched.

    The services must be stopped. A database with content needs ``replace``, and is backed up first. Keys in the
    backup are put in place, those that were there are kept beside them. Leases are restored only where there are
    none: those here are newer, and forgetting one would give its address away twice.
    """
    with _workshop(data_dir) as folder:
        manifest = _unpack(source, folder)
        if manifest.engine != engine.dialect.name:
            raise Refused(
                f"the backup is of {manifest.engine}, database_url names {engine.dialect.name}",
                "restore it into the same engine",
            )
        if manifest.revision not in (known := known_revisions()):
            raise Refused(
                f"the backup is at revision {manifest.revision}, this program knows up to {known[-1]}",
                f"restore it with provisioner {manifest.program} or newer",
            )
        _refuse_other_keys(data_dir / "keys", manifest)
        if _has_content(engine):
            if not replace:
                raise Refused(
                    "the database here has content that a restore would replace",
                    "stop the services and say --replace; what is here is backed up first",
                )
            make_file(engine, data_dir, data_dir / "backups" / f"before-restore-{now}.tar", now=now)
        name = folder / _DATABASES[manifest.engine]
        if manifest.engine == "sqlite":
            with closing(sqlite3.connect(name)) as copy:
                found = copy.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise Refused(f"the database in the backup is damaged ({found})", "use another backup")
            engine.dispose()
            _copy_sqlite(name, Path(str(engine.url.database)))
        else:
            _run_pg("pg_restore", engine, "--clean", "--if-exists", "--no-owner", "--single-transaction", str(name))
        _put_files(folder, data_dir, manifest, now)
    return manifest


def fingerprint(keys: Path) -> str:
    """Of the newest credential key, or empty without one."""
    try:
        first = (keys / "credentials.keys").read_bytes().split()[0]
    except (FileNotFoundError, IndexError):
        return ""
    return hashlib.sha256(b"provisioner backup fingerprint:" + first).hexdigest()[:16]


def _refuse_other_keys(keys: Path, manifest: Manifest) -> None:
    if manifest.with_keys or not manifest.keys:
        return
    here = fingerprint(keys)
    if here != manifest.keys:
        raise Refused(
            f"the passwords in the backup were encrypted with key {manifest.keys}, "
            + (f"{keys} has key {here}" if here else f"{keys} has none"),
            f"copy that appliance's keys to {keys} first, or restore a backup made with --with-keys",
        )


def _put_files(folder: Path, data_dir: Path, manifest: Manifest, now: int) -> None:
    if manifest.with_keys:
        keys = data_dir / "keys"
        if keys.exists() and fingerprint(keys) != manifest.keys:
            keys.rename(data_dir / f"keys.before-restore-{now}")
        keys.mkdir(mode=0o700, exist_ok=True)
        for name in _KEYS:
            shutil.copyfile(folder / "keys" / name, keys / name)
            (keys / name).chmod(0o600)
    if (folder / _LEASES).exists() and not (data_dir / "leases.db").exists():
        _copy_sqlite(folder / _LEASES, data_dir / "leases.db")
    if (folder / _JOURNAL).exists() and not (data_dir / _JOURNAL).exists():
        shutil.copyfile(folder / _JOURNAL, data_dir / _JOURNAL)
    # They tell of the database that was replaced.
    for snapshot in data_dir.glob("snapshot-*.json"):
        snapshot.unlink()


def _unpack(source: BinaryIO, folder: Path) -> Manifest:
    """Into ``folder``, every member checked by name and digest. Raises Refused."""
    try:
        with tarfile.open(fileobj=source, mode="r|*") as tar:
            for member in tar:
                if not member.isfile() or member.name not in _KNOWN | {"manifest.json"}:
                    raise Refused(
                        f"the backup has a member {member.name!r} that none has", "use a file of db backup"
                    )
                data = cast("IO[bytes]", tar.extractfile(member))
                target = folder / member.name
                target.parent.mkdir(exist_ok=True)
                with target.open("wb") as out:
                    shutil.copyfileobj(data, out)
        manifest = Manifest(**json.loads((folder / "manifest.json").read_text()))
    except (tarfile.TarError, EOFError, FileNotFoundError, TypeError, ValueError) as error:
        raise Refused(
            f"this is not a whole backup ({error})", "use a file written by `provisioner db backup`"
        ) from None
    if manifest.format != _FORMAT:
        raise Refused(f"the backup has format {manifest.format}, this program reads {_FORMAT}", "use its program")
    wrong = [
        name
        for name, digest in manifest.members.items()
        if not (folder / name).is_file() or _sha256(folder / name) != digest
    ]
    if wrong or _DATABASES.get(manifest.engine) not in manifest.members:
        raise Refused(f"the backup is damaged ({', '.join(wrong) or 'no database'})", "use another backup")
    return manifest


def _has_content(engine: Engine) -> bool:
    try:
        with reading(engine) as connection:
            return inspect(connection).has_table("alembic_version")
    except StoreUnavailable:
        if engine.dialect.name == "sqlite":
            raise Refused(
                f"{engine.url.database} is there and cannot be read as a database", "move it away, then restore"
            ) from None
        raise


@contextmanager
def _workshop(data_dir: Path) -> Iterator[Path]:
    """A folder of the appliance's own for half-done work, readable to nobody else."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=data_dir) as folder:
        yield Path(folder)


def _copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy while others write, by SQLite's online backup."""
    if not target.exists():
        target.touch(mode=0o600)
    with translated(), closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


def _run_pg(program: str, engine: Engine, *argv: str) -> None:
    """A client program of PostgreSQL; the password goes by environment, never by argv."""
    url = engine.url
    env = {**os.environ}
    host = url.host or url.query.get("host")
    port = url.port or url.query.get("port")
    for name, value in (("PGHOST", host), ("PGPORT", port), ("PGUSER", url.username), ("PGPASSWORD", url.password)):
        if value:
            env[name] = str(value)
    try:
        done = subprocess.run(
            [program, f"--dbname={url.database}", "--no-password", *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PG_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Refused(f"{program} is not installed", "`apt-get install postgresql-client`") from None
    if done.returncode:
        said = (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1]
        raise Refused(f"{program} failed: {said}", "see that the server is up and that its version is not newer")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
