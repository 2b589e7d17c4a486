"""``provisioner subnet``: prefixes, gateways and policies."""

from typing import Annotated, Any

import typer

from provisioner.actions import subnets
from provisioner.cli import session
from provisioner.domain.errors import Refused
from provisioner.domain.option_set import show_options
from provisioner.domain.subnet import Subnet

app = typer.Typer(help="Subnets: addressing, and policy for machines that are not listed.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Like 10.12.1.0/24.")]
Gateway = Annotated[str | None, typer.Option(help="Default gateway; '' for none.")]
Dns = Annotated[str | None, typer.Option(help="DNS servers, separated by commas.")]
Ntp = Annotated[str | None, typer.Option(help="Time servers, separated by commas.")]
Domain = Annotated[str | None, typer.Option(help="Domain name.")]
Vlan = Annotated[str | None, typer.Option(help="VLAN id.")]
Unknown = Annotated[str | None, typer.Option(help="Unlisted machines: ignore, address, enrol or approve.")]
Pool = Annotated[
    str | None,
    typer.Option(
        "--pool", help="Addresses for unlisted machines, FIRST-LAST, several separated by commas; '' for none."
    ),
]
Arm = Annotated[
    str | None,
    typer.Option(
        help="on-discovery: a listed machine installs when it is first switched on, once per slot; or manual."
    ),
]
Lease = Annotated[int | None, typer.Option(help="Lease time in seconds.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="A further DHCP option, again for more; NAME= removes."),
]


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
        "version": subnet.version,
    }


@app.command(epilog="Example: `provisioner subnet add 10.12.1.0/24 --gateway 10.12.1.1 --dns 10.12.1.1`")
def add(
    prefix: Prefix,
    gateway: Gateway = None,
    dns: Dns = None,
    ntp: Ntp = None,
    domain: Domain = None,
    vlan: Vlan = None,
    unknown: Unknown = None,
    arm: Arm = None,
    pools: Pool = None,
    lease_seconds: Lease = None,
    options: Options = None,
) -> None:
    """Add a subnet."""
    fields = {name: value for name, value in locals().items() if name in subnets.FIELDS and value not in (None, [])}
    with session.house() as house:
        made = subnets.put_subnet(
            house.store, prefix, fields, actor=session.actor(), now=session.now(), create=True
        )
    session.say(f"{made.prefix}: {subnets.describe(made)}")


@app.command(
    "set", epilog="Example: `provisioner subnet set 10.12.1.0/24 --unknown enrol --pool 10.12.1.200-10.12.1.250`"
)
def set_fields(
    prefix: Prefix,
    gateway: Gateway = None,
    dns: Dns = None,
    ntp: Ntp = None,
    domain: Domain = None,
    vlan: Vlan = None,
    unknown: Unknown = None,
    arm: Arm = None,
    pools: Pool = None,
    lease_seconds: Lease = None,
    options: Options = None,
) -> None:
    """Change a subnet; fields not named stay."""
    fields = {name: value for name, value in locals().items() if name in subnets.FIELDS and value not in (None, [])}
    if not fields:
        raise Refused("nothing to change", "name a field, like --gateway 10.12.1.1")
    with session.house() as house:
        with house.store.reading() as tx:
            tx.subnets.get(prefix)
        made = subnets.put_subnet(house.store, prefix, fields, actor=session.actor(), now=session.now())
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
