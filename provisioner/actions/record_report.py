"""What a machine says about its install: admitted by token and place, stored in one transaction."""

from dataclasses import dataclass

from provisioner.actions import live
from provisioner.actions.deliver import known_by_address
from provisioner.actions.front import Front
from provisioner.actions.happening import Happening, What
from provisioner.actions.refusals import refuse
from provisioner.domain.admission import at_its_place, may_report
from provisioner.domain.machine import IPAddress, Machine, Phase
from provisioner.domain.tokens import token_hash

LOG_BYTES = 256 * 1024
"""Of a longer log the last part is kept: that is where it failed."""


@dataclass(frozen=True, slots=True)
class Said:
    """A report as parsed at the door. ``phase`` None: the phase that the install is in."""

    what: What
    phase: Phase | None = None
    percent: int | None = None
    message: str = ""
    text: str = ""


def by_token(front: Front, token: str, said: Said, source: IPAddress, now: int) -> bool:
    """Record a report for ``/b/{token}`` or, for ``active``, ``/m/{token}``.

    Returns whether the database has it (else the journal does). Raises NotAdmitted, IllegalTransition,
    StoreUnavailable when it could be kept nowhere.
    """
    if said.what is not What.ACTIVE and live.is_token(token):
        return live.report(front, token, said.what, said.message, said.text, source, now)
    hashed = token_hash(token)
    machine = front.by_token(hashed)
    if machine is None or not _matches(machine, said, hashed):
        refuse(front, None, f"reported {said.what} with a token that no install has", source, now)
    return _record(front, machine, said, source, now, hashed)


def by_address(front: Front, said: Said, source: IPAddress, now: int) -> bool:
    """As ``by_token`` for Yoo-Installer's callback, which knows the machine by where it calls from."""
    machine = known_by_address(front, source, str(said.what), now)
    return _record(front, machine, said, source, now, "")


def _record(front: Front, machine: Machine, said: Said, source: IPAddress, now: int, hashed: str) -> bool:
    neighbour = front.neighbour(source)

    def admitted(stored: Machine) -> None:
        if hashed and not _matches(stored, said, hashed):
            refuse(front, stored, f"reported {said.what} with the token of an older install", source, now)
        admission = (
            at_its_place(stored, source, neighbour)
            if said.what is What.ACTIVE
            else may_report(stored, str(said.what), source, neighbour, now)
        )
        if not admission:
            refuse(front, stored, f"{said.what}: {admission.refusal}", source, now)

    if machine.install is None:
        refuse(front, machine, f"{said.what}: {machine.name} has no install", source, now)
    happening = Happening(
        said.what, machine.id, machine.install.id, now, said.phase, said.percent, said.message, said.text
    )
    _, stored = front.keep(happening, admitted)
    return stored


def _matches(machine: Machine, said: Said, hashed: str) -> bool:
    install = machine.install
    if install is None:
        return False
    return hashed == (install.machine_token_hash if said.what is What.ACTIVE else install.token_hash)
