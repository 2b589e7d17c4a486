"""Blast radius: what another revision of a role changes for each machine that has it, file by file."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial

from provisioner.boot import context
from provisioner.boot.compile import Compiled, RoleCompiler
from provisioner.boot.effective import EffectiveRoles
from provisioner.boot.roles import Role
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.domain.machine import Machine, State
from provisioner.domain.role_plan import FileChange, MachineChange, RolePlan

_TOLD = (State.ARMED, State.INSTALLING, State.INSTALLED, State.ACTIVE)
"""Machines whose install says what they were told."""
_REVISION = b"REVISION"


class RolePlanner:
    """Implements ports.RolePlanner. Renders with the compiler's worker; stores nothing."""

    def __init__(self, roles: EffectiveRoles, compiler: RoleCompiler) -> None:
        self.roles = roles
        self._compiler = compiler

    def plan(self, role: str, inventory: Inventory, revision: str = "") -> RolePlan:
        """What activating ``revision`` (empty: what the folder holds) would do. Raises NotFound, Refused."""
        wanted = self.roles.find(role, revision) if revision else self.roles.draft(role)
        base = self.roles.get(role).revision
        having = sorted((m for m in inventory.machines.values() if _counts(m, role)), key=slot_order)
        outputs: dict[str, object] = {}
        changes = []
        for machine in having:
            new = partial(self._compiler.compile_as, wanted, machine, inventory)
            change, told = self._change(machine, inventory, base, wanted, new)
            changes.append(change)
            outputs[str(machine.id)] = [change.since, change.problem, told]
        said = json.dumps([role, base, wanted.revision, outputs], sort_keys=True)
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        return RolePlan(role, base, wanted.revision, tuple(changes), digest, wanted.files)

    def _change(
        self, machine: Machine, inventory: Inventory, base: str, wanted: Role, new: "partial[Compiled]"
    ) -> tuple[MachineChange, dict[str, str]]:
        """The change, and the digest of each file that the machine would get."""
        since, installed = _since(machine, wanted.name, base)
        change = partial(MachineChange, machine.id, machine.name, machine.state.value, since, installed)
        try:
            context.subnet_of(machine, inventory)
        except Refused as refusal:
            return change(note=f"not ready to be told anything: {refusal}"), {}
        try:
            compiled = new()
        except Refused as refusal:
            return change(problem=f"{machine.name}: {refusal}"), {}
        told = {name: hashlib.sha256(data).hexdigest() for name, data in compiled.files.items()}
        try:
            before = self._compiler.compile_as(self.roles.at(wanted.name, since), machine, inventory)
        except NotFound:
            return change(note=f"revision {since[:12]} is not kept; nothing to compare with"), told
        except Refused as refusal:
            return change(note=f"revision {since[:12]} cannot be compiled any more: {refusal}"), told
        return change(files=tuple(_differences(before, compiled))), told


def _counts(machine: Machine, role: str) -> bool:
    return machine.slot.role == role and machine.state is not State.RETIRED


def _since(machine: Machine, role: str, base: str) -> tuple[str, bool]:
    """The revision that the machine was told, and whether its disk was written from it."""
    install = machine.install
    if install is None or install.role != role or machine.state not in _TOLD or not install.revision:
        return base, False
    return install.revision, machine.state in (State.INSTALLED, State.ACTIVE)


def _differences(before: Compiled, after: Compiled) -> Iterator[FileChange]:
    old, new = _neutral(before), _neutral(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        left, right = (text.get(name, b"").decode().splitlines() for text in (old, new))
        lines = difflib.unified_diff(left, right, f"{name} {before.revision[:12]}", f"{name} {after.revision[:12]}")
        yield FileChange(name, "\n".join(line.rstrip("\n") for line in lines) + "\n")


def _neutral(compiled: Compiled) -> Mapping[str, bytes]:
    """The files without the revision, which templates print and which changes with every comment."""
    short, whole = compiled.revision[:12].encode(), compiled.revision.encode()
    return {name: data.replace(whole, _REVISION).replace(short, _REVISION) for name, data in compiled.files.items()}
