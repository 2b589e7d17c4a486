"""Allocation: a plan to look at, then exactly that plan carried out."""

from ipaddress import IPv4Address, IPv4Network

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import allocate
from provisioner.actions import fields as read
from provisioner.domain.allocation import Rule, parse_plan
from provisioner.domain.errors import InvalidValue
from provisioner.domain.machine import IPAddress
from provisioner.web.api.machines import MachineOut, shown
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class RuleIn(BaseModel):
    """Addresses of ``prefix`` from ``first`` on; names by a pattern like ``node-{index:02}``."""

    model_config = ConfigDict(extra="forbid")

    prefix: str
    first: str = ""
    exclude: list[str] = Field(default_factory=list, max_length=10_000)
    name: str = ""
    role: str = ""


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


class PlanOut(BaseModel):
    """``basis`` names the inventory it was made from: applied to another one it is refused."""

    model_config = ConfigDict(extra="forbid")

    basis: str
    rows: list[Row]


class Allocations:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def plan(self, rule: RuleIn) -> PlanOut:
        """Changes nothing."""
        made = allocate.plan(self._parts.store.inventory(), _rule(rule))
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


def _rule(rule: RuleIn) -> Rule:
    prefix = read.prefix(rule.prefix)
    if not isinstance(prefix, IPv4Network):
        raise InvalidValue("prefix", prefix, "is not IPv4", "allocate IPv4 addresses")
    return Rule(
        prefix=prefix,
        first=_ipv4(read.address(rule.first, "first"), "first") if rule.first else None,
        exclude=tuple(_ipv4(read.address(text, "exclude"), "exclude") for text in rule.exclude),
        name=rule.name,
        role=rule.role,
    )


def _ipv4(ip: IPAddress, field: str) -> IPv4Address:
    if not isinstance(ip, IPv4Address):
        raise InvalidValue(field, ip, "is not IPv4", "allocate IPv4 addresses")
    return ip
