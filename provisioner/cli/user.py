"""``provisioner user``: the people who may use the page and the API."""

from typing import Annotated

import typer

from provisioner.actions import accounts
from provisioner.cli import session

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: `provisioner user add night-shift`")
def add(
    name: Annotated[str, typer.Argument(help="User name.")],
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
) -> None:
    """Add a user. The password is asked for; it never stands on a command line."""
    password = session.password(name, stdin=password_stdin, new=True)
    with session.house() as house:
        accounts.add_user(house.store, name, password, actor=session.actor(), now=session.now())
    session.say(f"user {name} added")


@app.command("list", epilog="Example: `provisioner user list`")
def list_users(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List users."""
    with session.house() as house, house.store.reading() as tx:
        rows = [
            {"name": user.name, "password": "set" if user.password_hash else "not set", "id": str(user.id)}
            for user in tx.users.list()
        ]
    if json:
        session.show_json(rows)
    else:
        session.show_table(("name", "password"), rows, "no users; `provisioner user add NAME`")


@app.command(epilog="Example: `provisioner user remove night-shift`")
def remove(name: Annotated[str, typer.Argument(help="User name.")]) -> None:
    """Remove a user; their sessions and tokens end."""
    with session.house() as house:
        accounts.remove_user(house.store, name, actor=session.actor(), now=session.now())
    session.say(f"{name} removed")
