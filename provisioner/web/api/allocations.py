"""Allocation: a plan to look at, then exactly that plan carried out."""

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import allocate
from provisioner.domain.allocation import parse_plan
from provisioner.web.api.machines import MachineOut, shown
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class RuleIn(BaseModel):
    """Addresses of ``prefix`` from ``first`` on in slot order; or counted from the BMC's address (``bmc_base``), or
    by an ``expression`` like ``10.12.1.((b3-202)*28 + b4)``. Names by a pattern like ``core-{rack}-{index:02}``.
    """

    model_config = ConfigDict(extra="forbid")

    prefix: str
    first: str = ""
    bmc_base: str = ""
    expression: str = ""
    exclude: list[str] = Field(default_factory=list, max_length=10_000)
    name: str = ""
    role: str = ""
    rack: str = ""
    renumber: bool = False


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    machine_id: str
    machine: str
    name: str
    mac: str
    ip: str
    role: str
    why: str
    changed: bool
    was: str = ""
    conflict: str = ""


class PlanOut(BaseModel):
    """``basis`` names the inventory it was made from: applied to another one, or with conflicts, it is refused."""

    model_config = ConfigDict(extra="forbid")

    basis: str
    rows: list[Row]


class Allocations:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def plan(self, rule: RuleIn) -> PlanOut:
        """Changes nothing."""
        made = allocate.plan(self._parts.store, allocate.read_rule(rule.model_dump()))
        return PlanOut.model_validate(made.as_dict())

    def apply(self, plan: PlanOut, request: Request) -> list[MachineOut]:
        """All or nothing; the machines that changed."""
        changed = allocate.apply(
            self._parts.store,
            parse_plan(plan.model_dump()),
            actor=actor(request),
            now=self._parts.clock(),
            roles=self._parts.roles(),
        )
        return [shown(machine) for machine in changed]
