"""What happens to a machine over HTTP, as a value: applied now, or journalled and applied later.

One rule book for both: a database that was away must end up where it would have been.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from provisioner.actions.power import enqueue_boot_device
from provisioner.domain import lifecycle
from provisioner.domain.bmc import BootDevice
from provisioner.domain.errors import IllegalTransition
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import Report
from provisioner.domain.machine import Install, Machine, Phase
from provisioner.domain.ports import Transaction
from provisioner.domain.records import PhaseRecord


class What(StrEnum):
    """The closed list; the values stand in journals, so they stay."""

    BOOT_SCRIPT = "boot-script"
    INSTALL_SCRIPT = "install-script"
    LAPSE = "lapse"
    """Time or attempts ran out."""
    CONTRADICTED = "contradicted"
    """The board that boots is not the machine that is meant."""
    PROGRESS = "progress"
    LOG = "log"
    COMPLETE = "complete"
    FAILED = "failed"
    ACTIVE = "active"


LOGS_KEPT = 20
"""Uploaded logs of a machine that stay: a live system that uploads in a loop must not fill the disk."""
_DIGITS = re.compile(r"\d+")

_REPORT_KINDS = {
    What.PROGRESS: Kind.REPORT_PROGRESS,
    What.LOG: Kind.REPORT_LOG,
    What.COMPLETE: Kind.REPORT_COMPLETE,
    What.FAILED: Kind.REPORT_FAILED,
    What.ACTIVE: Kind.REPORT_ACTIVE,
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One hand-out or report. ``at``: UTC microseconds."""

    what: What
    machine_id: UUID
    install_id: UUID
    at: int
    phase: Phase | None = None
    percent: int | None = None
    message: str = ""
    text: str = ""
    """An uploaded log."""
    boots: int | None = None
    """Journalled hand-outs: the boot's number, so that a second replay counts nothing."""

    def entry(self, after: Machine) -> dict[str, object]:
        """As the journal keeps it, with the count that was reached."""
        return {
            "what": str(self.what),
            "machine": str(self.machine_id),
            "install": str(self.install_id),
            "at": self.at,
            "phase": self.phase and str(self.phase),
            "percent": self.percent,
            "message": self.message,
            "text": self.text,
            "boots": after.install.boots if after.install else None,
        }

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """From a journal's entry. Raises ValueError or KeyError for what no version of us wrote."""
        return cls(
            what=What(entry["what"]),
            machine_id=UUID(entry["machine"]),
            install_id=UUID(entry["install"]),
            at=int(entry["at"]),
            phase=Phase(entry["phase"]) if entry.get("phase") else None,
            percent=entry.get("percent"),
            message=entry.get("message", ""),
            text=entry.get("text", ""),
            boots=entry.get("boots"),
        )


def advance(machine: Machine, happening: Happening) -> Machine:  # noqa: PLR0911 - a table
    """The machine afterwards; the same object if nothing changed. Raises IllegalTransition."""
    install = machine.install
    if install is None or install.id != happening.install_id:
        raise IllegalTransition(
            f"machine {machine.name} has a newer install than this {happening.what} belongs to",
            "nothing to do: the newer install counts",
        )
    match happening.what:
        case What.BOOT_SCRIPT:
            return _new_boot(machine, install, happening)
        case What.INSTALL_SCRIPT:
            if happening.boots is not None and install.attempt_boot >= happening.boots:
                return machine
            counted = lifecycle.install_script_served(machine, happening.at)
            return machine if counted is machine else lifecycle.observed(counted, Phase.CONFIG, happening.at)
        case What.LAPSE:
            return _lapsed(machine, install, happening.at)
        case What.CONTRADICTED:
            return lifecycle.quarantined(machine, happening.message, happening.at)
        case What.LOG:
            return machine
        case _:
            report = Report(str(happening.what), happening.phase, happening.percent, happening.message)
            return lifecycle.after(machine, report, happening.at)


def carry_out(tx: Transaction, before: Machine, happening: Happening) -> Machine:
    """Advance ``before`` and write everything that belongs to it in this transaction."""
    after = advance(before, happening)
    heartbeat = _is_heartbeat(tx, before, after, happening)
    if after is not before:
        tx.machines.put_progress(after)
        if phase := _phase_record(after, happening):
            tx.machines.put_phase(phase)
        if happening.what is What.COMPLETE:
            # Network first in the BIOS: the BMC is told, so that not even the next boot asks us.
            enqueue_boot_device(tx, after, BootDevice.DISK, happening.at)
    if not heartbeat and (event := _event(before, after, happening)):
        tx.events.add(event)
        if event.kind is Kind.REPORT_LOG:
            tx.events.keep_newest(Kind.REPORT_LOG, after.id, LOGS_KEPT)
    return after


def _new_boot(machine: Machine, install: Install, happening: Happening) -> Machine:
    if happening.boots is not None and install.boots >= happening.boots:
        return machine
    served = lifecycle.boot_script_served(machine)
    if served is machine or served.install is None:
        return machine
    # A new boot starts the train anew: "never back" holds within one boot only.
    return replace(served, install=replace(served.install, phase=Phase.LOADER, percent=None, phase_at=happening.at))


def _lapsed(machine: Machine, install: Install, now: int) -> Machine:
    if (late := lifecycle.overdue(machine, now)) is not None:
        return late
    if lifecycle.spent(machine):
        return lifecycle.failed(machine, install.phase, lifecycle.used_up(install), now)
    return machine


def _phase_record(after: Machine, happening: Happening) -> PhaseRecord | None:
    install = after.install
    if install is None or install.phase is None or happening.what in (What.LAPSE, What.CONTRADICTED):
        return None
    return PhaseRecord(
        install_id=install.id,
        phase=install.phase,
        first_at=happening.at,
        last_at=happening.at,
        percent=install.percent,
        message=happening.message,
    )


def _is_heartbeat(tx: Transaction, before: Machine, after: Machine, happening: Happening) -> bool:
    """Does a progress report only count on (``120 MiB written`` after ``80 MiB written``)?

    The phase keeps its numbers; the timeline would drown in them.
    """
    if happening.what is not What.PROGRESS or before.install is None or after.install is None:
        return False
    if before.install.phase is not after.install.phase:
        return False
    said = next((r.message for r in tx.machines.phases(after.install.id) if r.phase is after.install.phase), "")
    return not happening.message or _DIGITS.sub("#", said) == _DIGITS.sub("#", happening.message)


def _event(before: Machine, after: Machine, happening: Happening) -> Event | None:
    """The timeline's sentence, or None for a repetition."""
    if after is before and happening.what not in (What.LOG, What.ACTIVE):
        return None
    install = after.install
    phase = install.phase if install else None
    data: dict[str, Any] = {}
    kind = _REPORT_KINDS.get(happening.what, Kind.MACHINE_STATE)
    match happening.what:
        case What.BOOT_SCRIPT:
            return None  # the observation "asked for its boot script" says it
        case What.PROGRESS:
            message = happening.message or f"began phase {phase}"
            data = {} if happening.percent is None else {"percent": happening.percent}
        case What.LOG:
            message = f"uploaded its install log ({len(happening.text.encode())} bytes)"
            data = {"text": happening.text}
        case What.COMPLETE:
            message = "reported the install complete" + (f": {happening.message}" if happening.message else "")
            if after.bmc_id is not None:
                message += "; its BMC will be told to boot the disk"
        case What.FAILED:
            message = f"reported failure in phase {phase}: {happening.message or 'no reason given'}"
        case What.ACTIVE:
            # Each boot of the installed system says so: a machine that restarts by itself is worth knowing of.
            message = (
                after.state_reason if after is not before else "the installed system reported in again: it booted"
            )
        case _:
            message = f"{before.state} → {after.state}: {after.state_reason}"
    actor = "appliance" if happening.what in (What.LAPSE, What.INSTALL_SCRIPT, What.CONTRADICTED) else "machine"
    if after.state is not before.state:
        data |= {"from": before.state.value, "to": after.state.value}
    return Event(kind, message, happening.at, after.id, after.boot_mac, phase=phase, actor=actor, data=data)
