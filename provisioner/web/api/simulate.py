"""Simulate: what a machine would be told if it powered on now; nothing is stored."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from provisioner.boot.simulate import simulate
from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.domain.mac import Mac
from provisioner.web.parts import Parts


class SimulationOut(BaseModel):
    """``install``: what is frozen and would be served; ``if_armed``: what arming would freeze, or why it can't.

    Tokens and the appliance's address are shown as placeholders.
    """

    machine: str | None
    state: str | None
    action: str
    reason: str
    boot_script: str
    install: dict[str, Any] | None
    if_armed: dict[str, Any] | None


class Simulate:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def one(self, ref: str, response: Response) -> SimulationOut:
        """By name, id, MAC or address; a MAC that is in no inventory gets what a stranger gets."""
        inventory = self._parts.store.inventory()
        machine = inventory.find(ref)
        if machine is None:
            try:
                Mac.parse(ref)
            except InvalidValue as error:
                raise NotFound("machine", ref) from error
        response.headers["Cache-Control"] = "no-store"
        return SimulationOut.model_validate(simulate(self._parts.compiler, inventory, machine, self._parts.clock()))
