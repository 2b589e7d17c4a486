"""Slots: places with the intent for whatever hardware sits in them."""

from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import edits as saving
from provisioner.actions import slots
from provisioner.domain.option_set import show_options
from provisioner.domain.place import Place
from provisioner.web.api import edits
from provisioner.web.api.edits import IfMatch, Plan
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class SlotOut(BaseModel):
    """A place. ``machine_id`` is what sits in it, null: empty. ``implicit`` ones go with their machine."""

    id: str
    name: str
    rack: str
    chassis: str
    unit: int | None
    blade: int | None
    role: str
    params: dict[str, Any]
    cluster: str
    options: dict[str, str]
    switch_port: str
    menu: str
    addresses: list[str]
    implicit: bool
    machine_id: str | None
    version: int


class SlotFields(BaseModel):
    """Left out: unchanged; null or empty: taken away."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    ip: str | list[str | None] | None = Field(
        default=None, description="One, several by `;`, or a list; boot NIC first."
    )
    rack: str | None = None
    chassis: str | None = None
    unit: int | None = None
    blade: int | None = None
    role: str | None = None
    params: dict[str, Any] | None = None
    cluster: str | None = None
    switch_port: str | None = Field(default=None, description="Of the place, as relays name it, like `sw3 17`.")
    menu: str | list[str] | None = Field(
        default=None, description="Roles to choose at the console; `none`: no menu; empty: as the subnet says."
    )
    options: dict[str, str | None] | None = Field(
        default=None, description="DHCP options by name; the named ones change, null takes one away."
    )

    def stated(self) -> dict[str, Any]:
        sent = self.model_dump(exclude_unset=True)
        return {key: "" if value is None else value for key, value in sent.items()}


class NewSlot(SlotFields):
    name: str


class Board(BaseModel):
    """``mac``: its cards, boot NIC first; one of a listed machine brings that machine."""

    model_config = ConfigDict(extra="forbid")

    mac: str | list[str] = Field(description="One, several by `;`, or a list; boot NIC first.")
    bmc: str | None = Field(default=None, description="Address of its BMC; left out: the slot's.")
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None


class Slots:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, empty: bool = False, after: After = "", limit: Limit = 200) -> Page[SlotOut]:
        """By name, from the snapshot: it trails an edit by at most 0.2 s. ``empty``: only those with no machine."""
        inventory = self._parts.snapshot.inventory
        places = list(inventory.places.values())
        if not empty:
            places += [Place(m.slot, m.addresses, m.id) for m in inventory.machines.values()]
        return cut(places, lambda place: place.name, after, limit, shown)

    def one(self, ref: str, response: Response) -> SlotOut:
        """By name or id of the slot, or by its machine's."""
        with self._parts.store.reading() as tx:
            return _tagged(tx.slots.get(ref), response)

    def add(self, fields: NewSlot, request: Request, response: Response) -> SlotOut:
        """A place without a machine; a machine that is listed with its name comes into it."""
        place = slots.add_slot(
            self._parts.store,
            {"name": fields.name, **fields.stated()},
            actor=actor(request),
            now=self._parts.clock(),
            roles=self._parts.roles(),
        )
        response.headers["Location"] = f"/api/v1/slots/{place.slot.id}"
        return _tagged(place, response)

    def change(
        self,
        ref: str,
        fields: SlotFields,
        request: Request,
        response: Response,
        plan: Plan = "",
        if_match: IfMatch = None,
    ) -> SlotOut:
        """Change the fields that are sent."""
        place = saving.change_slot(
            self._parts.store,
            self._parts.planner,
            ref,
            fields.stated(),
            plan=plan,
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
            roles=self._parts.roles(),
        )
        return _tagged(place, response)

    def remove(self, ref: str, request: Request, if_match: IfMatch = None) -> None:
        """Refused while a machine sits in it."""
        slots.remove_slot(
            self._parts.store,
            ref,
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
        )

    def replace_board(
        self, ref: str, board: Board, request: Request, response: Response, if_match: IfMatch = None
    ) -> SlotOut:
        """Another board in this slot: it has the slot's name, role and addresses; the old one is forgotten."""
        machine = slots.replace_board(
            self._parts.store,
            ref,
            board.model_dump(exclude_unset=True, exclude_none=True),
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
        )
        return _tagged(Place(machine.slot, machine.addresses, machine.id), response)


def _tagged(place: Place, response: Response) -> SlotOut:
    edits.tag(response, place.slot.version)
    return shown(place)


def shown(place: Place) -> SlotOut:
    slot = place.slot
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
        options=show_options(slot.options),
        switch_port=slot.switch_port,
        menu=slot.menu,
        addresses=[str(address.ip) for address in place.addresses],
        implicit=slot.implicit,
        machine_id=str(place.machine_id) if place.machine_id else None,
        version=slot.version,
    )
