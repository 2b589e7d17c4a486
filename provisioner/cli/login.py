"""``provisioner bmc login``: users and passwords that all BMCs of a network may have."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from provisioner.actions import logins
from provisioner.cli import session

app = typer.Typer(help="Logins for all BMCs of a network, tried in order.", no_args_is_help=True)
Stdin = Annotated[bool, typer.Option(help="Read the password from standard input.")]
File = Annotated[Path | None, typer.Option(help="Read the password from the first line of this file.")]
Prefix = Annotated[str, typer.Argument(metavar="CIDR", help="The BMCs' network.")]


@app.command(epilog="Example: `provisioner bmc login add 10.12.200.0/22 --user admin --password-stdin < password`")
def add(
    prefix: Prefix,
    user: Annotated[str, typer.Option(help="User name.")],
    position: Annotated[int | None, typer.Option(help="1 is tried first; default: after the others.")] = None,
    password_stdin: Stdin = False,
    password_file: File = None,
) -> None:
    """Add a login, or change its password. A BMC's own login comes first, then the narrowest network's."""
    fields = {
        "prefix": prefix,
        "user": user,
        "password": session.password(f"{user} in {prefix}", stdin=password_stdin, file=password_file),
        "position": position,
    }
    with session.house() as house:
        made = logins.put_login(house.store, fields, actor=session.actor(), now=session.now())
    session.say(f"BMCs in {made.prefix} are tried with {made.user}, in place {made.position}")


@app.command("list", epilog="Example: `provisioner bmc login list`")
def list_logins(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List networks and users; passwords are never shown."""
    with session.house() as house, house.store.reading() as tx:
        rows = [asdict(each) for each in logins.network_logins(tx)]
    if json:
        session.show_json(rows)
    else:
        empty = "no logins for networks; `provisioner bmc login add CIDR --user U --password-stdin`"
        session.show_table(("prefix", "position", "user"), rows, empty)


@app.command(epilog="Example: `provisioner bmc login remove 10.12.200.0/22 admin`")
def remove(prefix: Prefix, user: Annotated[str, typer.Argument(help="User name.")]) -> None:
    """Forget a login."""
    with session.house() as house:
        logins.remove_login(house.store, prefix, user, actor=session.actor(), now=session.now())
    session.say(f"the login of {user} for {prefix} is forgotten")
