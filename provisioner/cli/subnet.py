"""``provisioner subnet``: prefixes, gateways and policies."""

import sys
from typing import Annotated, Any

import typer

from provisioner.actions import subnets
from provisioner.cli import session
from provisioner.cli.stated import stated
from provisioner.domain.errors import Refused
from provisioner.domain.option_set import show_options
from provisioner.domain.subnet import Subnet

app = typer.Typer(no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Like 10.12.1.0/24.")]
TEXT = str | None
STATED = {
    "gateway": Annotated[TEXT, typer.Option(help="Default gateway; '' for none.")],
    "dns": Annotated[TEXT, typer.Option(help="DNS servers, separated by commas.")],
    "ntp": Annotated[TEXT, typer.Option(help="Time servers, separated by commas.")],
    "domain": Annotated[TEXT, typer.Option(help="Domain name.")],
    "vlan": Annotated[TEXT, typer.Option(help="VLAN id.")],
    "unknown": Annotated[TEXT, typer.Option(help="Unlisted machines: ignore, address, enrol or approve.")],
    "arm": Annotated[
        TEXT,
        typer.Option(
            help="on-discovery: a listed machine installs when it is first switched on, once per slot; or manual."
        ),
    ],
    "pools": Annotated[
        TEXT,
        typer.Option(
            "--pool", help="Addresses for unlisted machines, FIRST-LAST, several separated by commas; '' for none."
        ),
    ],
    "lease_seconds": Annotated[int | None, typer.Option(help="Lease time in seconds.")],
    "options": Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="NAME=VALUE", help="A further DHCP option, again for more; NAME= removes."
        ),
    ],
    "menu": Annotated[
        TEXT, typer.Option(help="Roles that a person at a machine's console may choose, by ';'; '' for no menu.")
    ],
    "menu_seconds": Annotated[int | None, typer.Option(help="How long the menu waits for a choice; 10.")],
    "menu_password_stdin": Annotated[
        bool | None,
        typer.Option(
            "--menu-password-stdin", help="Read the menu's password from standard input; empty: none is asked for."
        ),
    ],
}
"""What may be stated of a subnet."""


def as_dict(subnet: Subnet) -> dict[str, Any]:
    """A subnet as the commands print it."""
    return {
        "prefix": str(subnet.prefix),
        "gateway": str(subnet.gateway or ""),
        "dns": [str(ip) for ip in subnet.dns],
        "ntp": [str(ip) for ip in subnet.ntp],
        "domain": subnet.domain,
        "vlan": subnet.vlan,
        "pools": [f"{pool.first}-{pool.last}" for pool in subnet.pools],
        "unknown": subnet.unknown.value,
        "arm": subnet.arm,
        "lease_seconds": subnet.lease_seconds,
        "options": show_options(subnet.options),
        "menu": subnet.menu,
        "menu_seconds": subnet.menu_seconds,
        "menu_password": bool(subnet.menu_password),
        "version": subnet.version,
    }


@app.command(epilog="Example: `provisioner subnet add 10.12.1.0/24 --gateway 10.12.1.1 --dns 10.12.1.1`")
@stated(STATED)
def add(
    prefix: Prefix,
    **fields: Any,
) -> None:
    """Add a subnet."""
    with session.house() as house:
        made = subnets.put_subnet(
            house.store,
            prefix,
            _read(fields),
            actor=session.actor(),
            now=session.now(),
            create=True,
            roles=house.role_names(),
        )
    session.say(f"{made.prefix}: {subnets.describe(made)}")


@app.command(
    "set", epilog="Example: `provisioner subnet set 10.12.1.0/24 --unknown enrol --pool 10.12.1.200-10.12.1.250`"
)
@stated(STATED)
def set_fields(
    prefix: Prefix,
    **fields: Any,
) -> None:
    """Change a subnet; fields not named stay."""
    if not fields:
        raise Refused("nothing to change", "name a field, like --gateway 10.12.1.1")
    with session.house() as house:
        with house.store.reading() as tx:
            tx.subnets.get(prefix)
        made = subnets.put_subnet(
            house.store, prefix, _read(fields), actor=session.actor(), now=session.now(), roles=house.role_names()
        )
    session.say(f"{made.prefix}: {subnets.describe(made)}")


@app.command("list", epilog="Example: `provisioner subnet list --json`")
def list_subnets(json: Json = False) -> None:
    """List subnets."""
    with session.house() as house, house.store.reading() as tx:
        rows = [as_dict(subnet) for subnet in tx.subnets.list()]
    if json:
        session.show_json(rows)
    else:
        columns = ("prefix", "gateway", "dns", "domain", "vlan", "pools", "unknown", "arm", "lease_seconds")
        session.show_table(columns, rows, "no subnets; `provisioner subnet add 10.12.1.0/24 --gateway 10.12.1.1`")


@app.command(epilog="Example: `provisioner subnet remove 10.12.1.0/24`")
def remove(prefix: Prefix) -> None:
    """Forget a subnet that no machine has an address in."""
    with session.house() as house:
        subnets.remove_subnet(house.store, prefix, actor=session.actor(), now=session.now())
    session.say(f"{prefix} removed")


def _read(given: dict[str, Any]) -> dict[str, Any]:
    """With the password, which never stands on a command line."""
    fields = {name: value for name, value in given.items() if name != "menu_password_stdin"}
    return fields | ({"menu_password": sys.stdin.readline().rstrip("\r\n")} if fields != given else {})
