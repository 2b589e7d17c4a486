"""What another revision of a role, or another parameter, would change, machine by machine, before a yes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class FileChange:
    """One compiled file that comes out differently. ``diff``: unified, with the role's revision left out."""

    name: str
    diff: str


@dataclass(frozen=True, slots=True)
class MachineChange:
    """What the plan means for one machine."""

    machine_id: UUID
    name: str
    state: str
    since: str
    """The revision compared with: what its disk was installed with, or is armed for, else what arming gives now.
    Empty: there is none."""
    installed: bool
    """Its disk was written from ``since``: activating changes nothing on it until it is installed again."""
    files: tuple[FileChange, ...] = ()
    problem: str = ""
    """Why the new revision cannot be compiled for it; a plan with one is not activated."""
    note: str = ""
    """What else is to be known: not ready to be compiled, or nothing to compare with."""

    @property
    def changes(self) -> bool:
        return bool(self.files)


@dataclass(frozen=True, slots=True)
class RolePlan:
    """``revision`` would take the place of ``base``."""

    role: str
    base: str
    """The revision that arming uses now."""
    revision: str
    machines: tuple[MachineChange, ...]
    hash: str
    """Names the plan by all that it would do; another output, machine or base is another plan."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The role's files at ``revision``."""

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(machine.problem for machine in self.machines if machine.problem)


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What saving parameters would change: machines that come out differently, or cannot be compiled any more."""

    machines: tuple[MachineChange, ...]
    hash: str
    """Names the plan by all that it would do."""
    needs_hash: bool
    """Does it reach a machine that was told something, or another than the one edited? Then saving needs it."""

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(machine.problem for machine in self.machines if machine.problem)
