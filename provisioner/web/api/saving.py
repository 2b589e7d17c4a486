"""What a save of parameters would change, before it is saved."""

from typing import Any, Literal

from pydantic import BaseModel

from provisioner.actions import edits
from provisioner.domain.role_plan import EditPlan
from provisioner.web.api.clusters import ClusterFields
from provisioner.web.api.machines import MachineFields
from provisioner.web.api.roles import MachineOut, changed
from provisioner.web.api.slots import SlotFields
from provisioner.web.parts import Parts


class EditPlanOut(BaseModel):
    """``needed``: saving needs the hash, as ``?plan=``. ``verdict``: invalid edits are refused."""

    hash: str
    needed: bool
    verdict: Literal["valid", "invalid"]
    machines: list[MachineOut]


class Saving:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def machine(self, ref: str, fields: MachineFields) -> EditPlanOut:
        """Whose files these fields of a machine change, with differences. Changes nothing."""
        store, planner = self._parts.store, self._parts.planner
        return _shown(edits.plan_machine(store, planner, ref, fields.stated(), **self._when())[0])

    def slot(self, ref: str, fields: SlotFields) -> EditPlanOut:
        """Whose files these fields of a place change, with differences. Changes nothing."""
        store, planner = self._parts.store, self._parts.planner
        return _shown(edits.plan_slot(store, planner, ref, fields.stated(), **self._when())[0])

    def cluster(self, ref: str, fields: ClusterFields) -> EditPlanOut:
        """Whose files these fields of a cluster change, with differences. Changes nothing."""
        sent = fields.model_dump(exclude_unset=True)
        return _shown(edits.plan_cluster(self._parts.store, self._parts.planner, ref, sent)[0])

    def _when(self) -> dict[str, Any]:
        return {"now": self._parts.clock(), "roles": self._parts.roles()}


def _shown(plan: EditPlan) -> EditPlanOut:
    return EditPlanOut(
        hash=plan.hash,
        needed=plan.needs_hash,
        verdict="invalid" if plan.problems else "valid",
        machines=list(map(changed, plan.machines)),
    )
