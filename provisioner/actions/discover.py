"""A listed machine that installs because it was switched on: no keyboard, once per slot.

The role or the machine's subnet says ``arm: on-discovery``. Foreign data on the disk stays safe: the role's wipe
policy alone decides about it.
"""

from provisioner.actions.arm import arm
from provisioner.actions.front import Front
from provisioner.domain.admission import at_its_place
from provisioner.domain.boot import installs_by_itself
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import IPAddress, Machine, State

ACTOR = "first power-on"


def armed_by_power_on(front: Front, machine: Machine, source: IPAddress, now: int) -> Machine:
    """The machine, armed if this is its slot's first power-on and policy says so; else as it was.

    What keeps it from being armed is told to its timeline. It gets its disk then, as before.
    """
    if not _wanted(front, machine, source) or not at_its_place(machine, source, front.neighbour(source)):
        return machine
    try:
        armed = arm(
            front.store,
            front.compiler,
            front.token_key,
            str(machine.id),
            actor=ACTOR,
            now=now,
            hours=front.arm_hours,
            by_itself=True,
        )
    except (Refused, StoreUnavailable) as refused:
        why = f"should install on its first power-on, but cannot be armed: {refused}"
        front.observe(Event(Kind.MACHINE_STATE, why, now, machine.id, machine.boot_mac, actor=ACTOR))
        return machine
    front.note(armed)
    return armed


def _wanted(front: Front, machine: Machine, source: IPAddress) -> bool:
    role_says = machine.state is State.READY and front.compiler.arms_itself(machine.slot.role)
    return installs_by_itself(machine, front.snapshot.inventory.subnet_of(source), role_says)
