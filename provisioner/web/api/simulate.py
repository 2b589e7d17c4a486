"""Simulate: what a machine would be told if it powered on now; nothing is stored."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.domain.mac import Mac
from provisioner.web.parts import Parts


class SimulationOut(BaseModel):
    """``install``: what is frozen and would be served; ``if_armed``: what arming would freeze, or why it can't.

    Tokens and the appliance's address are shown as placeholders.
    """

    machine: str | None
    state: str | None
    mac: str | None
    arch: str
    action: str
    reason: str
    ends: str
    """The state that this boot ends in, if all goes well."""
    dhcp: list[dict[str, Any]]
    """Each question and its answer, in hexadecimal and decoded; ``no_dhcp`` says why there is none."""
    no_dhcp: str
    loads: list[dict[str, Any]]
    """What the firmware is given to run: name, by TFTP or HTTP, size, sha256."""
    boot_script: str
    install: dict[str, Any] | None
    if_armed: dict[str, Any] | None
    live: dict[str, Any] | None
    """The files of a boot from memory."""
    menu: dict[str, Any] | None
    """What a person at the console is asked first: roles, seconds, password, script."""


class Simulate:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def one(self, ref: str, response: Response, arch: str = "") -> SimulationOut:
        """By name, id, MAC or address; a MAC that is in no inventory gets what a stranger gets."""
        inventory = self._parts.store.inventory()
        machine = inventory.find(ref)
        try:
            mac = Mac.parse(ref)
        except InvalidValue as error:
            if machine is None:
                raise NotFound("machine", ref) from error
            mac = None
        response.headers["Cache-Control"] = "no-store"
        return SimulationOut.model_validate(self._parts.power_on(inventory, machine, mac, arch))
