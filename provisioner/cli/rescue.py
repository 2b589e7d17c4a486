"""``provisioner machine rescue``: a look at a machine from memory, once, with nothing installed."""

from typing import Annotated

import typer

from provisioner.actions import live, power
from provisioner.cli import session
from provisioner.cli.job import finish
from provisioner.domain.boot import RESCUE


def rescue(
    machines: Annotated[list[str], typer.Argument(metavar="MACHINE...", help="Names, ids, MACs or addresses.")],
    role: Annotated[str, typer.Option(help="The in-memory role, like memtest.")] = RESCUE,
    cancel: Annotated[bool, typer.Option("--cancel", help="Boot as planned after all.")] = False,
    power_cycle: Annotated[
        bool, typer.Option("--power-cycle", help="Switch each to the network now, over its BMC.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with --power-cycle.")] = False,
) -> None:
    """Have the next boot be a live system in memory, once. No state changes, no disk is written."""
    wanted = "" if cancel else role
    with session.house() as house:
        for ref in machines:
            asked = live.ask(house.store, house.compiler, ref, wanted, actor=session.actor(), now=session.now())
            if not json:
                session.say(f"{asked.name}: {f'boots {asked.live} once' if asked.live else 'boots as planned'}")
        if power_cycle and not cancel:
            job = power.enqueue_netboot(house.store, machines, actor=session.actor(), now=session.now())
            finish(house, job, json)
