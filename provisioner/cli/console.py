"""``provisioner machine console``: a server's serial console on this terminal."""

from typing import Annotated

import typer

from provisioner.actions import console as opening
from provisioner.cli import session

EXAMPLE = "Example: `provisioner machine console node-01`"


def console(
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="Name, id, MAC or address.")],
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Where the BMC speaks IPMI; default: its own port, 623 if it is Redfish."
        ),
    ] = None,
) -> None:
    """Attach this terminal to the machine's serial console (IPMI serial over LAN).

    At the start of a line, ~. ends it, ~B sends a break, ~~ types a tilde.
    """
    with session.house() as house:
        bmc, login = opening.opened(
            house.store, house.bmc_pool(), machine, actor=session.actor(), clock=session.now
        )
        session.warn(f"console of {machine} over BMC {bmc.address}; ~. ends it")
        status = house.console(bmc, login, port)
    if status:
        raise typer.Exit(1)
