"""``provisioner bmc``: the doors to the servers' power and identity."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from provisioner.actions import bmcs, inventory_file, power
from provisioner.actions import reconcile as actions_reconcile
from provisioner.cli import session
from provisioner.cli.machine import finish

app = typer.Typer(help="BMCs: list them, and read who their servers are.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: `provisioner bmc add 10.12.200.17 --user admin --password-stdin < password`")
def add(
    address: Annotated[str, typer.Argument(help="IP address of the BMC.")],
    user: Annotated[str, typer.Option(help="User name.")] = "",
    password_stdin: Annotated[bool, typer.Option(help="Read the password from standard input.")] = False,
    protocol: Annotated[str, typer.Option(help="ipmi, redfish, cmm (chassis manager) or auto; default ipmi.")] = "",
    port: Annotated[int | None, typer.Option(help="Default 623 for IPMI, 443 for the others.")] = None,
    chassis: Annotated[str, typer.Option(help="Chassis it hangs on; of a chassis manager: its name.")] = "",
    new_certificate: Annotated[bool, typer.Option(help="Forget the pinned certificate; pin the next.")] = False,
) -> None:
    """List a BMC with its login. The password never stands on a command line."""
    fields: dict[str, Any] = {
        "address": address,
        "user": user,
        "protocol": protocol,
        "port": port,
        "chassis": chassis,
    }
    fields["new_certificate"] = new_certificate
    if user:
        fields["password"] = (
            sys.stdin.readline().rstrip("\r\n")
            if password_stdin
            else typer.prompt(f"Password of {user} at {address}", hide_input=True)
        )
    with session.house() as house:
        made = bmcs.add_bmc(house.store, fields, actor=session.actor(), now=session.now())
    session.say(f"BMC {made.address} listed; `provisioner bmc harvest` reads who its server is")


@app.command("list", epilog="Example: `provisioner bmc list --json`")
def list_bmcs(json: Json = False) -> None:
    """List BMCs and the machines behind them."""
    with session.house() as house, house.store.reading() as tx:
        machines = {m.bmc_id: m.name for m in tx.machines.list() if m.bmc_id}
        rows = [
            {
                "address": bmc.address,
                "protocol": bmc.protocol,
                "port": bmc.port,
                "chassis": bmc.chassis,
                "login": "yes" if bmc.credential_id else "none",
                "machine": machines.get(bmc.id, ""),
            }
            for bmc in tx.bmcs.list()
        ]
    if json:
        session.show_json(rows)
    else:
        columns = ("address", "protocol", "port", "chassis", "login", "machine")
        session.show_table(columns, rows, "no BMCs; `provisioner bmc add ADDRESS --user U --password-stdin`")


@app.command(epilog="Example: `provisioner bmc harvest`")
def harvest(
    addresses: Annotated[list[str] | None, typer.Argument(metavar="[ADDRESS...]", help="Default: all.")] = None,
    json: Json = False,
) -> None:
    """Ask the BMCs who their servers are: model, serial, MACs. Adds; overwrites nothing an operator set."""
    with session.house() as house:
        job = power.enqueue_harvest(house.store, addresses or None, actor=session.actor(), now=session.now())
        finish(house.finish(job), json)


@app.command(epilog="Example: `provisioner bmc reconcile vendor.csv`")
def reconcile(
    file: Annotated[str, typer.Argument(help="The vendor's list, columns as of machine import; '-' reads stdin.")],
    json: Json = False,
) -> None:
    """Compare the vendor's list with what BMCs told and DHCP saw. Changes nothing; exit 1 if they disagree."""
    rows = inventory_file.parse(*session.read(file))
    with session.house() as house:
        findings = actions_reconcile.compare(house.store, rows)
    if json:
        session.show_json([asdict(finding) for finding in findings])
    else:
        session.show_table(
            ("kind", "machines", "listed", "found", "fix"),
            [asdict(finding) for finding in findings],
            f"{len(rows)} rows agree with what BMCs and DHCP tell",
        )
    if findings:
        raise typer.Exit(1)


@app.command(epilog="Example: `provisioner bmc remove 10.12.200.17`")
def remove(address: Annotated[str, typer.Argument(help="IP address of the BMC.")]) -> None:
    """Forget a BMC and its login."""
    with session.house() as house:
        bmcs.remove_bmc(house.store, address, actor=session.actor(), now=session.now())
    session.say(f"BMC {address} removed")
