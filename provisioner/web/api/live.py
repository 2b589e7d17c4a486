"""A machine's next boot from memory, once: for a look, while nothing is installed."""

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import live
from provisioner.domain.boot import RESCUE
from provisioner.web.api.machines import MachineOut, shown
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class LiveWish(BaseModel):
    """An in-memory role; empty takes the wish back."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(default=RESCUE, max_length=63)


class Live:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def ask(self, ref: str, request: Request, wish: LiveWish | None = None) -> MachineOut:
        """Have the next boot be a live system in memory, once. No state changes, no disk is written."""
        role = (wish or LiveWish()).role
        store, compiler = self._parts.store, self._parts.compiler
        return shown(live.ask(store, compiler, ref, role, actor=actor(request), now=self._parts.clock()))
