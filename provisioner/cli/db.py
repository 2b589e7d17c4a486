"""``provisioner db``: the database's schema and safety."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from provisioner.actions import arm as arming
from provisioner.cli import session
from provisioner.domain.errors import Refused
from provisioner.storage import backup as backups
from provisioner.storage.database import current_revision, migrate, open_engine, reading

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: `provisioner db backup` · `provisioner db backup - > provisioner.tar`")
def backup(
    file: Annotated[
        str | None, typer.Argument(help="A new file, or - for standard output. Default: data_dir/backups/DATE.tar.")
    ] = None,
    with_keys: Annotated[
        bool, typer.Option(help="Put the keys in: whoever reads the file can read every BMC password.")
    ] = False,
) -> None:
    """Write a consistent backup while the services go on.

    The keys that BMC passwords are encrypted with are left out unless asked for: keep data_dir/keys elsewhere.
    """
    now = session.now()
    with session.house() as house:
        data_dir = house.settings.data_dir
        if file == "-":
            manifest = backups.make(house.engine, data_dir, sys.stdout.buffer, now=now, with_keys=with_keys)
        else:
            date = datetime.fromtimestamp(now / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
            path = Path(file) if file else data_dir / "backups" / f"{date}.tar"
            manifest = backups.make_file(house.engine, data_dir, path, now=now, with_keys=with_keys)
            session.say(f"{path}: database at revision {manifest.revision}")
            if not file and (kept := house.settings.backups_kept):
                for old in backups.forget_oldest(path.parent, kept):
                    session.say(f"{old}: removed, the newest {kept} stay (backups_kept)")
    if with_keys:
        session.warn("the keys are in it: keep it like the BMC passwords themselves")
    else:
        session.warn(f"the keys are not in it: without {data_dir / 'keys'} its BMC passwords cannot be read again")


@app.command(epilog="Example: `provisioner db restore /srv/backup/provisioner.tar --replace`")
def restore(
    file: Annotated[str, typer.Argument(help="A file of `db backup`, or - for standard input.")],
    replace: Annotated[bool, typer.Option(help="Replace what is there; it is backed up first.")] = False,
) -> None:
    """Put a backup in the database's place. Stop the services first.

    Machines that installed since the backup are back in the state they had then; nothing is armed by a restore.
    """
    settings = session.settings()
    engine = open_engine(settings.url)
    try:
        if file == "-":
            manifest = backups.restore(
                engine, settings.data_dir, sys.stdin.buffer, now=session.now(), replace=replace
            )
        else:
            if not (path := Path(file)).is_file():
                raise Refused(f"backup {file!r} is not there", "check the path")
            with path.open("rb") as source:
                manifest = backups.restore(engine, settings.data_dir, source, now=session.now(), replace=replace)
    finally:
        engine.dispose()
    with session.house() as house:
        for machine in arming.stand_down(house.store, actor=session.actor(), now=session.now()):
            session.say(f"{machine.name}: {machine.state}, {machine.state_reason}")
    with session.house() as house, reading(house.engine) as connection:
        session.say(f"restored, revision {manifest.revision}; the database is at {current_revision(connection)}")


@app.command(epilog="Example: `provisioner db upgrade`")
def upgrade(
    without_backup: Annotated[bool, typer.Option(help="Upgrade although no backup can be made.")] = False,
) -> None:
    """Bring the schema to this program's version, after a backup (every command does it when it must)."""
    if without_backup:
        engine = open_engine(session.settings().url)
        migrate(engine)
        engine.dispose()
    with session.house() as house, reading(house.engine) as connection:
        session.say(f"database at revision {current_revision(connection)}")
