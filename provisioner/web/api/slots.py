"""Slots: places with the intent for whatever hardware sits in them."""

from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict

from provisioner.actions import enrol
from provisioner.domain.machine import Machine
from provisioner.web.api import edits
from provisioner.web.api.edits import IfMatch
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class SlotOut(BaseModel):
    """A place; ``machine_id`` is what sits in it."""

    id: str
    name: str
    rack: str
    chassis: str
    unit: int | None
    blade: int | None
    role: str
    params: dict[str, Any]
    cluster: str
    implicit: bool
    machine_id: str


class SlotFields(BaseModel):
    """Left out: unchanged; null or empty: taken away."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    rack: str | None = None
    chassis: str | None = None
    unit: int | None = None
    blade: int | None = None
    role: str | None = None
    params: dict[str, Any] | None = None
    cluster: str | None = None


class Slots:
    """Slots are made and removed with their machines."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 200) -> Page[SlotOut]:
        """By name, from the snapshot: it trails an edit by at most 0.2 s."""
        machines = list(self._parts.snapshot.inventory.machines.values())
        return cut(machines, lambda machine: machine.name, after, limit, shown)

    def one(self, ref: str, response: Response) -> SlotOut:
        """By name or id of the slot, or by its machine's."""
        with self._parts.store.reading() as tx:
            machine = tx.machines.get(self._machine(ref))
        edits.tag(response, machine.version)
        return shown(machine)

    def change(
        self, ref: str, fields: SlotFields, request: Request, response: Response, if_match: IfMatch = None
    ) -> SlotOut:
        """Change the fields that are sent."""
        sent = fields.model_dump(exclude_unset=True)
        machine = enrol.change_machine(
            self._parts.store,
            self._machine(ref),
            {key: "" if value is None else value for key, value in sent.items()},
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
            roles=self._parts.roles(),
        )
        edits.tag(response, machine.version)
        return shown(machine)

    def _machine(self, ref: str) -> str:
        """The machine in this slot; a reference that is no slot's id is the machine's own."""
        machines = self._parts.snapshot.inventory.machines.values()
        return next((str(machine.id) for machine in machines if str(machine.slot.id) == ref), ref)


def shown(machine: Machine) -> SlotOut:
    slot = machine.slot
    return SlotOut(
        id=str(slot.id),
        name=slot.name,
        rack=slot.rack,
        chassis=slot.chassis,
        unit=slot.unit,
        blade=slot.blade,
        role=slot.role,
        params=dict(slot.params),
        cluster=slot.cluster,
        implicit=slot.implicit,
        machine_id=str(machine.id),
    )
