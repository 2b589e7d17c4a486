"""Roles: what a machine may become, what another revision would change, and which one is in force."""

from datetime import datetime
from typing import Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from provisioner.actions import roles as actions
from provisioner.domain.errors import Refused
from provisioner.domain.role_plan import MachineChange, RolePlan
from provisioner.web.api.paging import Page
from provisioner.web.api.times import moment
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class RoleOut(BaseModel):
    """``machines``: how many slots have it. ``fault``: why its folder cannot be read; then the rest is empty."""

    name: str
    machines: int
    description: str = ""
    image: str = ""
    format: str = ""
    proof: str = ""
    revision: str = ""
    """What arming uses."""
    draft: str = ""
    """What the folder holds."""
    follows_folder: bool = True
    fault: str = ""


class RevisionOut(BaseModel):
    """``number`` counts from 1, in the order of first use."""

    number: int
    revision: str
    first_used: datetime
    active: bool


class FileOut(BaseModel):
    name: str
    diff: str


class MachineOut(BaseModel):
    """``since``: the revision compared with. ``installed``: its disk was written from it, and stays as it is."""

    id: str
    name: str
    state: str
    since: str
    installed: bool
    files: list[FileOut]
    problem: str
    note: str


class PlanOut(BaseModel):
    """``hash`` names it; activating needs that. ``verdict``: invalid plans are refused."""

    role: str
    base: str
    revision: str
    hash: str
    verdict: Literal["valid", "invalid"]
    machines: list[MachineOut]


class Activation(BaseModel):
    """``revision`` left out: what the folder holds."""

    model_config = ConfigDict(extra="forbid")

    plan: str
    revision: str = ""


class Roles:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self) -> Page[RoleOut]:
        """By name."""
        return Page(items=[self._shown(name) for name in sorted(self._parts.roles())])

    def one(self, name: str) -> RoleOut:
        """By name."""
        self._parts.planner.roles.draft(name)
        return self._shown(name)

    def revisions(self, name: str) -> Page[RevisionOut]:
        """Those that were used at least once, oldest first."""
        roles = self._parts.planner.roles
        active = roles.get(name).revision
        return Page(
            items=[
                RevisionOut(number=number, revision=revision, first_used=moment(at), active=revision == active)
                for number, (revision, at) in enumerate(roles.kept(name), start=1)
            ]
        )

    def plan(self, name: str, revision: str = "") -> PlanOut:
        """What activating a revision (left out: what the folder holds) would change for each machine."""
        return _plan(actions.plan(self._parts.store, self._parts.planner, name, revision))

    def activate(self, name: str, wanted: Activation, request: Request) -> PlanOut:
        """Put a revision in force, or an older one back. 412 if the plan is another by now."""
        who, now = actor(request), self._parts.clock()
        store, planner = self._parts.store, self._parts.planner
        return _plan(
            actions.activate(store, planner, name, wanted.plan, revision=wanted.revision, actor=who, now=now)
        )

    def follow(self, name: str, request: Request) -> PlanOut:
        """Use the folder as it stands again, and after each edit of it."""
        who, now = actor(request), self._parts.clock()
        return _plan(actions.follow(self._parts.store, self._parts.planner, name, actor=who, now=now))

    def _shown(self, name: str) -> RoleOut:
        machines = sum(m.slot.role == name for m in self._parts.snapshot.inventory.machines.values())
        roles = self._parts.planner.roles
        try:
            role, draft = roles.get(name), roles.draft(name)
        except Refused as refusal:
            return RoleOut(name=name, machines=machines, fault=str(refusal))
        return RoleOut(
            name=name,
            machines=machines,
            description=role.settings.description,
            image=role.settings.image,
            format=role.settings.format,
            proof=role.settings.proof,
            revision=role.revision,
            draft=draft.revision,
            follows_folder=not roles.activated(name),
        )


def _plan(plan: RolePlan) -> PlanOut:
    return PlanOut(
        role=plan.role,
        base=plan.base,
        revision=plan.revision,
        hash=plan.hash,
        verdict="invalid" if plan.problems else "valid",
        machines=list(map(changed, plan.machines)),
    )


def changed(machine: MachineChange) -> MachineOut:
    return MachineOut(
        id=str(machine.machine_id),
        name=machine.name,
        state=machine.state,
        since=machine.since,
        installed=machine.installed,
        files=[FileOut(name=file.name, diff=file.diff) for file in machine.files],
        problem=machine.problem,
        note=machine.note,
    )
