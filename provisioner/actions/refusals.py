"""A machine that asks for what it is not to have: told to the timeline and to the asker."""

from typing import NoReturn

from provisioner.actions.front import Front
from provisioner.domain.errors import NotAdmitted
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import IPAddress, Machine


def refuse(front: Front, machine: Machine | None, why: str, source: IPAddress, now: int) -> NoReturn:
    """Tell the timeline and the asker. No token stands in either."""
    front.observe(
        Event(
            Kind.TOKEN_REFUSED,
            f"refused: {why}",
            now,
            machine_id=machine.id if machine else None,
            actor="machine",
            data={"source": str(source)},
        )
    )
    raise NotAdmitted(why, "see the machine's timeline; `provisioner machine arm` starts a new install")
