"""``provisioner db``: the database's schema and safety."""

import typer

from provisioner.cli import session
from provisioner.storage.database import current_revision, reading

app = typer.Typer(help="The database: upgrade.", no_args_is_help=True)


@app.callback()
def database() -> None:
    """The database."""


@app.command(epilog="Example: `provisioner db upgrade`")
def upgrade() -> None:
    """Bring the schema to this program's version (every command does it for a fresh database)."""
    with session.house() as house, reading(house.engine) as connection:
        session.say(f"database at revision {current_revision(connection)}")
