"""Commands that move machines from one state to another: each machine on its own, and all that can go, go."""

from collections.abc import Callable
from typing import Annotated

import typer

from provisioner.actions import arm as arming
from provisioner.cli import session
from provisioner.domain.errors import Refused
from provisioner.domain.machine import Machine
from provisioner.wiring import House

Refs = Annotated[list[str], typer.Argument(metavar="MACHINE...", help="Names, ids, MACs or addresses.")]
Hours = Annotated[float | None, typer.Option(help="How long it may wait for its netboot.")]
Wipe = Annotated[bool, typer.Option(help="Foreign data on the install disk may be lost.")]


def arm(machines: Refs, hours: Hours = None, wipe: Wipe = False) -> None:
    """Freeze what each machine will be told; its next netboot installs."""

    def step(house: House, ref: str) -> Machine:
        return arming.arm(
            house.store,
            house.compiler,
            house.keyring.token_key,
            ref,
            actor=session.actor(),
            now=session.now(),
            hours=house.settings.arm_hours if hours is None else hours,
            wipe=wipe,
        )

    _each(machines, step)


def disarm(machines: Refs) -> None:
    """Void an armed install."""
    _each(machines, _by(arming.disarm))


def release(machines: Refs) -> None:
    """Give machines back: no install, no tokens; their disks are left alone."""
    _each(machines, _by(arming.release))


def accept(machines: Refs) -> None:
    """Say that quarantined machines are who they are: UUID and serial known so far are forgotten."""
    _each(machines, _by(arming.accept))


def retire(machines: Refs) -> None:
    """Take machines out of service: they get no answer any more."""
    _each(machines, _by(arming.retire))


def restore(machines: Refs) -> None:
    """Take retired machines back into service."""
    _each(machines, _by(arming.restore))


def _by(action: Callable[..., Machine]) -> Callable[[House, str], Machine]:
    return lambda house, ref: action(house.store, ref, actor=session.actor(), now=session.now())


def _each(refs: list[str], step: Callable[[House, str], Machine]) -> None:
    """One that is refused holds up no other. Exit code 3 if some went, 1 if none."""
    refused = 0
    with session.house() as house:
        for ref in refs:
            try:
                after = step(house, ref)
            except Refused as refusal:
                session.warn(f"provisioner: {refusal}")
                refused += 1
            else:
                session.say(f"{after.name}: {after.state}, {after.state_reason}")
    if refused:
        raise typer.Exit(1 if refused == len(refs) else 3)
