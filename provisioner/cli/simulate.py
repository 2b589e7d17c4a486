"""``provisioner simulate``: everything a machine would be told if it powered on now."""

from typing import Annotated

import typer

from provisioner.boot.simulate import simulate as tell
from provisioner.cli import session
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.mac import Mac
from provisioner.wiring import clock

EXAMPLE = "Example: `provisioner simulate node-01`"


def simulate(
    machine: Annotated[str, typer.Argument(metavar="MACHINE|MAC", help="Name, id, MAC or address.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the machine would be told if it powered on now, and why. Changes nothing."""
    with session.house() as house:
        inventory = house.store.inventory()
        found = inventory.find(machine)
        if found is None:
            try:
                Mac.parse(machine)
            except Refused:
                raise NotFound("machine", machine) from None
        told = tell(house.compiler, inventory, found, clock())
    if json:
        session.show_json(told)
        return
    for key, value in told.items():
        if isinstance(value, str) and "\n" in value:
            session.say(f"{key}:")
            session.say("\n".join(f"    {line}" for line in value.splitlines()))
        elif isinstance(value, dict):
            session.say(f"{key}:")
            for name, item in value.items():
                for line in item if isinstance(item, list) else [item]:
                    session.say(f"    {name:12} {line}")
        elif value not in (None, "", []):
            session.say(f"{key}: {value}")
