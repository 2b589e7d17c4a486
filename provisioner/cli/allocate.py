"""``provisioner allocate``: addresses and names by rule, looked at before they are applied."""

import json as jsonlib
import sys
from typing import Annotated, Any

import typer

from provisioner.actions import allocate, inventory_file, reservations
from provisioner.cli import session
from provisioner.domain.allocation import Assignment, Plan, parse_plan
from provisioner.domain.errors import InvalidValue, Refused

app = typer.Typer(no_args_is_help=True)
FORMATS = ("table", "json", *reservations.FORMATS)


@app.command(epilog="Example: `provisioner allocate plan 10.12.1.0/24 --expression '10.12.1.((b3-202)*28 + b4)'`")
def plan(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="Subnet to take addresses from.")],
    first: Annotated[str, typer.Option(help="First address; with --bmc-base the one that goes with it.")] = "",
    bmc_base: Annotated[str, typer.Option(help="Count from the BMC's address: BMC base + n gets first + n.")] = "",
    expression: Annotated[str, typer.Option(help="Octets of b1 b2 b3 b4 index unit blade + - * / % ( ).")] = "",
    exclude: Annotated[str, typer.Option(help="Addresses, ranges A-B and networks to leave out, by commas.")] = "",
    name: Annotated[str, typer.Option(help="Pattern like core-{rack}-{index:02}; without it names stay.")] = "",
    role: Annotated[str, typer.Option(help="Role for machines that have none.")] = "",
    rack: Annotated[str, typer.Option(help="Only machines of this rack.")] = "",
    renumber: Annotated[bool, typer.Option(help="Also machines that have an address already.")] = False,
    source: Annotated[
        str, typer.Option("--from", metavar="FILE", help="Machines of a CSV or JSON file instead; '-' reads stdin.")
    ] = "",
    output: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON, for `apply`.")] = False,
) -> None:
    """Show which machine would get which address and name, and why. Changes nothing."""
    if output not in FORMATS:
        raise InvalidValue("output", output, "is not known", f"choose one of {', '.join(FORMATS)}")
    rule = allocate.read_rule(
        {
            "prefix": prefix,
            "first": first,
            "bmc_base": bmc_base,
            "expression": expression,
            "exclude": exclude,
            "name": name,
            "role": role,
            "rack": rack,
            "renumber": renumber,
        }
    )
    with session.house() as house:
        made = (
            allocate.plan_file(house.store, rule, inventory_file.parse(*session.read(source)))
            if source
            else allocate.plan(house.store, rule)
        )
    _show(made, "json" if json else output)
    if made.conflicts:
        session.warn(f"{len(made.conflicts)} of {len(made.rows)} machines in conflict; this plan cannot be applied")
        raise typer.Exit(1)


@app.command(
    "apply", epilog="Example: `provisioner allocate plan 10.12.1.0/24 --json | provisioner allocate apply -`"
)
def apply_plan(
    file: Annotated[str, typer.Argument(metavar="PLAN", help="File with the plan; '-' reads standard input.")],
) -> None:
    """Apply exactly this plan in one transaction; refused if the inventory moved since."""
    try:
        data = jsonlib.loads(session.read(file)[0])
    except ValueError as error:
        raise Refused(f"plan {file!r} is not JSON", "make one with `provisioner allocate plan --json`") from error
    with session.house() as house:
        done = allocate.apply(
            house.store, parse_plan(data), actor=session.actor(), now=session.now(), roles=house.role_names()
        )
    for machine in done:
        session.say(f"{machine.name}: {machine.ip}; {machine.state}")
    session.say(f"{len(done)} machines changed")


def _show(made: Plan, output: str) -> None:
    if output == "json":
        session.show_json(made.as_dict())
    elif output == "table":
        session.show_table(
            ("machine", "mac", "ip", "name", "role", "changes", "why", "conflict"),
            [_row(row) for row in made.rows],
            "no machines to allocate for; `provisioner bmc harvest` or `machine add` first",
        )
    else:
        sys.stdout.write(reservations.FORMATS[output](made))


def _row(row: Assignment) -> dict[str, Any]:
    changes = [f"{row.was or 'no address'} → {row.ip}"] if row.ip != row.was else []
    if row.name != row.machine:
        changes.append("name")
    return {
        "machine": row.machine,
        "mac": row.mac,
        "ip": row.ip,
        "name": row.name,
        "role": row.role,
        "changes": ", ".join(changes) or ("role" if row.changed else ""),
        "why": row.why,
        "conflict": row.conflict,
    }
