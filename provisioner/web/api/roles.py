"""Roles: what a machine may become."""

from pydantic import BaseModel

from provisioner.web.api.paging import Page
from provisioner.web.parts import Parts


class RoleOut(BaseModel):
    """``machines``: how many slots have it."""

    name: str
    machines: int


class Roles:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self) -> Page[RoleOut]:
        """Names of the roles there are; `provisioner role show` tells more."""
        machines = self._parts.snapshot.inventory.machines.values()
        return Page(
            items=[
                RoleOut(name=name, machines=sum(machine.slot.role == name for machine in machines))
                for name in sorted(self._parts.roles())
            ]
        )
