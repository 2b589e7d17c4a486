"""Blast radius: what another revision of a role, or other parameters, change for each machine, file by file."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from uuid import UUID

from provisioner.boot import context
from provisioner.boot.compile import Compiled, RoleCompiler
from provisioner.boot.effective import EffectiveRoles
from provisioner.boot.roles import Role
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.domain.machine import Machine, State
from provisioner.domain.role_plan import EditPlan, FileChange, MachineChange, RolePlan

_TOLD = (State.ARMED, State.INSTALLING, State.INSTALLED, State.ACTIVE)
"""Machines whose install says what they were told."""
_REVISION = b"REVISION"
_DHCP = "DHCP options"
"""Beside the files, in a plan."""


class RolePlanner:
    """Implements ports.RolePlanner and ports.EditPlanner. Renders with the compiler's worker; stores nothing."""

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

    def plan_edit(self, before: Inventory, after: Inventory, edited: UUID | None) -> EditPlan:
        """What other parameters of a slot or a cluster would do, whatever activated revision is in force.

        A machine that cannot be compiled as it stands hinders no edit: it may be what is being corrected. Raises
        StoreUnavailable.
        """
        changes = []
        for machine in sorted(_touched(before, after), key=slot_order):
            change = self._edit(before.machines[machine.id], machine, before, after)
            if change.files or change.problem:
                changes.append(change)
        told = [[str(c.machine_id), c.since, c.problem, [[f.name, f.diff] for f in c.files]] for c in changes]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        reaches = [
            c for c in changes if c.files and (c.machine_id != edited or after.machines[edited].state in _TOLD)
        ]
        return EditPlan(tuple(changes), digest, bool(reaches))

    def _edit(self, old: Machine, new: Machine, before: Inventory, after: Inventory) -> MachineChange:
        role = new.slot.role
        change = partial(MachineChange, new.id, new.name, new.state.value)
        try:
            was = self._compiler.compile(old, before)
        except Refused as refusal:
            return change("", False, note=f"cannot be compiled as it stands: {refusal}")
        since, installed = _since(new, role, was.revision)
        try:
            becomes = self._compiler.compile(new, after)
        except Refused as refusal:
            return change(since, installed, problem=f"{new.name}: {refusal}")
        return change(since, installed, files=tuple(_differences(was, becomes)))

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
        told[_DHCP] = _spelled(wanted)
        try:
            old = self.roles.at(wanted.name, since)
            before = self._compiler.compile_as(old, machine, inventory)
        except NotFound:
            return change(note=f"revision {since[:12]} is not kept; nothing to compare with"), told
        except Refused as refusal:
            return change(note=f"revision {since[:12]} cannot be compiled any more: {refusal}"), told
        return change(files=(*_differences(before, compiled), *_of_dhcp(old, wanted))), told


def _touched(before: Inventory, after: Inventory) -> list[Machine]:
    """The machines whose own slot differs, and the members of clusters in which something does."""
    own = {
        machine.id
        for machine in after.machines.values()
        if machine.id in before.machines and before.machines[machine.id].slot != machine.slot
    }
    clusters = {name for name, cluster in after.clusters.items() if before.clusters.get(name) != cluster}
    for machine_id in own:
        clusters |= {before.machines[machine_id].slot.cluster, after.machines[machine_id].slot.cluster} - {""}
    return [
        machine
        for machine in after.machines.values()
        if (machine.id in own or machine.slot.cluster in clusters)
        and machine.id in before.machines
        and machine.slot.role
        and machine.state is not State.RETIRED
    ]


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


def _of_dhcp(before: Role, after: Role) -> Iterator[FileChange]:
    """DHCP options come from the role as well; an installed machine gets the new ones with its next lease."""
    old, new = (_spelled(role).splitlines() for role in (before, after))
    if old != new:
        left, right = (f"{_DHCP} {role.revision[:12]}" for role in (before, after))
        yield FileChange(_DHCP, "\n".join(difflib.unified_diff(old, new, left, right, lineterm="")) + "\n")


def _spelled(role: Role) -> str:
    return "".join(f"{name}={value}\n" for name, value in sorted(role.settings.dhcp.items()))


def _neutral(compiled: Compiled) -> Mapping[str, bytes]:
    """The files without the revision, which templates print and which changes with every comment."""
    short, whole = compiled.revision[:12].encode(), compiled.revision.encode()
    return {name: data.replace(whole, _REVISION).replace(short, _REVISION) for name, data in compiled.files.items()}
