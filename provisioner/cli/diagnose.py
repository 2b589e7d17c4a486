"""``provisioner diagnose``: why is this machine not moving?"""

from typing import Annotated

import typer

from provisioner.actions.diagnose import Diagnosis
from provisioner.actions.diagnose import diagnose as find_out
from provisioner.cli import session
from provisioner.cli.machine import event_dict
from provisioner.domain.errors import Refused
from provisioner.domain.machine import Machine
from provisioner.domain.spoken import span
from provisioner.wiring import House, clock

EXAMPLE = "Example: `provisioner diagnose node-01`"


def diagnose(
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="Name, id, MAC or address.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say where the machine stands, what should come next, and what to do if it does not come. Changes nothing.

    Exit code 1 if it needs somebody.
    """
    now = clock()
    with session.house() as house:
        found = find_out(
            house.store,
            house.store.inventory(),
            machine,
            wires=[wire.address for wire in house.settings.wires if wire.address],
            compiles=lambda listed: _why_not(house, listed),
            now=now,
        )
    stands = bool(found.obstacles) or found.expected.overdue
    if json:
        session.show_json(_as_dict(found, stands))
    else:
        _say(found, now)
    raise typer.Exit(int(stands))


def _why_not(house: House, machine: Machine) -> str:
    try:
        house.compiler.compile(machine, house.store.inventory())
    except Refused as refusal:
        return str(refusal)
    return ""


def _as_dict(found: Diagnosis, stands: bool) -> dict[str, object]:
    machine, expected = found.machine, found.expected
    return {
        "machine": machine.name,
        "state": machine.state.value,
        "reason": machine.state_reason,
        "phase": machine.install.phase if machine.install else None,
        "netboot": {"action": found.plan.action.value, "reason": found.plan.reason},
        "next": expected.next,
        "overdue": expected.overdue,
        "cause": expected.cause,
        "fix": expected.fix,
        "obstacles": list(found.obstacles),
        "needs_somebody": stands,
        "events": [event_dict(event) for event in found.events],
    }


def _say(found: Diagnosis, now: int) -> None:
    machine, expected = found.machine, found.expected
    phase = f", phase {machine.install.phase}" if machine.install and machine.install.phase else ""
    since = f" for {span(now - machine.state_at)}" if machine.state_at else ""
    session.say(
        f"{machine.name} is {machine.state}{since}{phase}"
        + (f": {machine.state_reason}" * bool(machine.state_reason))
    )
    session.say(f"a netboot now gets: {found.plan.action} ({found.plan.reason})")
    session.say(f"expected next: {expected.next}" + (" (overdue)" if expected.overdue else ""))
    if expected.cause:
        session.say(f"likely cause: {expected.cause}")
    if expected.fix:
        session.say(f"what to do: {expected.fix}")
    for obstacle in found.obstacles:
        session.say(f"in the way: {obstacle}")
    if found.events:
        session.say("what happened, newest first:")
    for event in found.events:
        session.say(f"  {span(now - event.at):>7} ago  {event.message}")
