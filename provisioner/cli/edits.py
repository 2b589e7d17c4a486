"""What a save of parameters changes, as ``set --diff`` prints it."""

from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.domain.role_plan import EditPlan

Diff = Annotated[
    bool, typer.Option("--diff", help="Show whose files the parameters change, and the plan's hash; saves nothing.")
]
Plan = Annotated[str, typer.Option("--plan", metavar="HASH", help="Hash that --diff printed.")]


def show(plan: EditPlan) -> None:
    """Machine by machine, file by file, with what to say to save it. Exits with 1 if it would not validate."""
    for machine in plan.machines:
        how = "installed: its disk keeps what it has" if machine.installed else machine.state
        session.say(f"{machine.name} ({how}): {len(machine.files)} files differ")
        for file in machine.files:
            session.say("".join(f"    {line}\n" for line in file.diff.splitlines()).rstrip("\n"))
    for problem in plan.problems:
        session.warn(f"not valid: {problem}")
    if plan.problems:
        raise typer.Exit(1)
    needed = f"; save it with --plan {plan.hash}" if plan.needs_hash else "; no plan is needed to save it"
    session.say(f"{len(plan.machines)} machines change{needed}")
