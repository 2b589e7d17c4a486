"""``provisioner allocate``: addresses and names by rule, looked at before they are applied."""

import json as jsonlib
import sys
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated

import typer

from provisioner.actions import allocate
from provisioner.actions import fields as read
from provisioner.cli import session
from provisioner.domain.allocation import Rule, parse_plan
from provisioner.domain.errors import InvalidValue, Refused

app = typer.Typer(help="Addresses and names by rule: plan, look, apply.", no_args_is_help=True)


@app.command(epilog="Example: `provisioner allocate plan 10.12.1.0/24 --first 10.12.1.10 --name node-{index:02}`")
def plan(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Subnet to take addresses from.")],
    first: Annotated[str, typer.Option(help="First address to give.")] = "",
    exclude: Annotated[str, typer.Option(help="Addresses to leave out, separated by commas.")] = "",
    name: Annotated[str, typer.Option(help="Name pattern; without it names stay.")] = "",
    role: Annotated[str, typer.Option(help="Role for machines that have none.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON, for `apply`.")] = False,
) -> None:
    """Show which machine would get which address and name, and why. Changes nothing."""
    rule = Rule(
        prefix=_network(prefix),
        first=_address(first, "first") if first else None,
        exclude=tuple(_address(text, "exclude") for text in exclude.split(",") if text.strip()),
        name=name,
        role=role,
    )
    with session.house() as house:
        made = allocate.plan(house.store.inventory(), rule)
    if json:
        session.show_json(made.as_dict())
        return
    session.show_table(
        ("machine", "mac", "ip", "name", "role", "why"),
        [asdict(row) for row in made.rows],
        "no machines to allocate for; `provisioner bmc harvest` or `machine add` first",
    )


@app.command(
    "apply", epilog="Example: `provisioner allocate plan 10.12.1.0/24 --json | provisioner allocate apply -`"
)
def apply_plan(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="File with the plan; '-' reads standard input.")],
) -> None:
    """Apply exactly this plan in one transaction; refused if the inventory moved since."""
    try:
        data = jsonlib.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except OSError as error:
        raise Refused(f"plan {str(file)!r} cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise Refused(
            f"plan {str(file)!r} is not JSON", "make one with `provisioner allocate plan --json`"
        ) from error
    with session.house() as house:
        done = allocate.apply(
            house.store, parse_plan(data), actor=session.actor(), now=session.now(), roles=house.role_names()
        )
    for machine in done:
        session.say(f"{machine.name}: {machine.ip}; {machine.state}")
    session.say(f"{len(done)} machines changed")


def _network(text: str) -> IPv4Network:
    network = read.prefix(text)
    if not isinstance(network, IPv4Network):
        raise InvalidValue("prefix", text, "is IPv6", "allocation gives IPv4 addresses")
    return network


def _address(text: str, field: str) -> IPv4Address:
    ip = read.address(text, field)
    if not isinstance(ip, IPv4Address):
        raise InvalidValue(field, text, "is IPv6", "allocation gives IPv4 addresses")
    return ip
