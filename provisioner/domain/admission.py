"""Who may read an install's files and report for it.

A token alone is not enough: it travels in clear on the rack's wire. The asker must sit at the machine's
reserved address and, where the segment is ours, have one of the machine's MACs in the neighbour table.
"""

from dataclasses import dataclass

from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress, Machine, State


@dataclass(frozen=True, slots=True)
class Admission:
    """``refusal`` is empty when admitted, else the reason for the alert and the 403."""

    refusal: str = ""

    def __bool__(self) -> bool:
        return not self.refusal


def at_its_place(machine: Machine, source: IPAddress, neighbour: Mac | None) -> Admission:
    """Is it really this machine that asks? ``neighbour``: the MAC that the wire shows for ``source``, if any."""
    if source not in {address.ip for address in machine.addresses}:
        return Admission(f"asked from {source}, but {machine.name} has {machine.ip}")
    if neighbour is not None and neighbour not in machine.macs:
        return Admission(f"{source} is held by {neighbour}, which is none of {machine.name}'s MACs")
    return Admission()


def may_read_install(machine: Machine, source: IPAddress, neighbour: Mac | None, now: int) -> Admission:
    """May the compiled files be handed out? Repeats while installing are honest retries."""
    install = machine.install
    if install is None or not install.open or machine.state not in (State.ARMED, State.INSTALLING):
        return Admission(f"{machine.name} is {machine.state}; nothing is being installed")
    if now > install.deadline:
        return Admission(f"the install of {machine.name} passed its deadline")
    return at_its_place(machine, source, neighbour)


def may_report(machine: Machine, kind: str, source: IPAddress, neighbour: Mac | None, now: int) -> Admission:
    """May it report? ``kind``: progress, log, complete, failed. Terminal reports may be repeated."""
    install = machine.install
    if install is None:
        return Admission(f"{machine.name} has no install")
    if kind == "log" and install.outcome in ("complete", "failed"):
        return at_its_place(machine, source, neighbour)
    if install.outcome and install.outcome != kind:
        return Admission(f"the install of {machine.name} has ended ({install.outcome})")
    if install.open and machine.state is not State.INSTALLING:
        return Admission(f"{machine.name} is {machine.state}; its install script was not handed out")
    if install.open and now > install.deadline:
        return Admission(f"the install of {machine.name} passed its deadline")
    return at_its_place(machine, source, neighbour)
