"""``provisioner token``: bearer tokens for scripts."""

from typing import Annotated

import typer

from provisioner.actions import accounts
from provisioner.cli import session

app = typer.Typer(no_args_is_help=True)


@app.command(epilog="Example: `provisioner token create ci --user admin`")
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    user: Annotated[str, typer.Option(help="Whose token it is.")],
) -> None:
    """Make a token; it is printed once and stored only as a hash."""
    with session.house() as house:
        _, secret = accounts.create_token(house.store, user, name, actor=session.actor(), now=session.now())
    session.say(secret)


@app.command("list", epilog="Example: `provisioner token list`")
def list_tokens(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List tokens (never their secrets)."""
    with session.house() as house, house.store.reading() as tx:
        users = {user.id: user.name for user in tx.users.list()}
        rows = [
            {"name": token.name, "user": users.get(token.user_id, ""), "id": str(token.id)}
            for token in tx.tokens.list()
            if token.kind == "bearer"
        ]
    if json:
        session.show_json(rows)
    else:
        session.show_table(("name", "user", "id"), rows, "no tokens; `provisioner token create NAME --user U`")


@app.command(epilog="Example: `provisioner token revoke ci`")
def revoke(name: Annotated[str, typer.Argument(help="Name or id.")]) -> None:
    """Revoke a token."""
    with session.house() as house:
        accounts.revoke_token(house.store, name, actor=session.actor(), now=session.now())
    session.say(f"{name} revoked")
