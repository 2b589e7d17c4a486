"""Machines: list, show, add, edit, remove, and what may be done with them."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import arm, enrol, newcomers, power
from provisioner.actions import edits as saving
from provisioner.domain.events import Kind
from provisioner.domain.machine import Install, Machine, State
from provisioner.domain.option_set import show_options
from provisioner.domain.ports import Transaction
from provisioner.domain.records import PhaseRecord
from provisioner.web.api import edits, jobs
from provisioner.web.api.edits import IfMatch, Plan
from provisioner.web.api.jobs import JobOut
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.api.times import moment, moment_or_none
from provisioner.web.api.wishes import ArmWishes, PowerWish, WavesWish
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class InterfaceOut(BaseModel):
    mac: str
    boot: bool
    switch_port: str
    source: str


class AddressOut(BaseModel):
    """``mac`` null: any interface without an address of its own."""

    ip: str
    mac: str | None


class PhaseOut(BaseModel):
    phase: str
    first_at: datetime
    last_at: datetime
    percent: int | None
    message: str


class InstallOut(BaseModel):
    """The latest install. ``outcome`` is empty while it is open."""

    id: str
    role: str
    revision: str
    armed_at: datetime
    deadline: datetime
    attempts: int
    max_attempts: int
    phase: str | None
    percent: int | None
    phase_at: datetime | None
    outcome: str
    reason: str
    files: list[str]


class MachineOut(BaseModel):
    id: str
    name: str
    state: str
    state_reason: str
    state_at: datetime | None
    role: str
    ip: str | None
    mac: str | None
    interfaces: list[InterfaceOut]
    addresses: list[AddressOut]
    rack: str
    chassis: str
    unit: int | None
    blade: int | None
    cluster: str
    params: dict[str, Any]
    options: dict[str, str]
    switch_port: str
    menu: str
    live: str
    """The in-memory role that its next boot is, once."""
    labels: dict[str, str]
    vendor: str
    model: str
    serial: str
    uuid: str | None
    firmware: str
    approved: bool
    bmc_id: str | None
    version: int
    install: InstallOut | None


class MachineDetail(MachineOut):
    """One machine with the phases that its install reached."""

    phases: list[PhaseOut]


class MachineFields(BaseModel):
    """What an operator may state. Left out: unchanged; null or empty: taken away."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    mac: str | list[str] | None = Field(default=None, description="One, several by `;`, or a list; boot NIC first.")
    ip: str | list[str | None] | None = Field(default=None, description="By position of the MACs.")
    role: str | None = None
    rack: str | None = None
    chassis: str | None = None
    unit: int | None = None
    blade: int | None = None
    cluster: str | None = None
    bmc: str | None = Field(default=None, description="Address of a listed BMC.")
    labels: dict[str, str] | str | None = None
    params: dict[str, Any] | None = None
    switch_port: str | None = Field(default=None, description="Of the place, as relays name it, like `sw3 17`.")
    menu: str | list[str] | None = Field(
        default=None, description="Roles to choose at the console; `none`: no menu; empty: as the subnet says."
    )
    options: dict[str, str | None] | None = Field(
        default=None, description="DHCP options by name; the named ones change, null takes one away."
    )
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None

    def stated(self) -> dict[str, Any]:
        """Only what was sent; null as the empty value that the actions take."""
        sent = self.model_dump(exclude_unset=True)
        return {key: "" if value is None else value for key, value in sent.items()}


class LogOut(BaseModel):
    """The last log that the install uploaded; null: none yet."""

    at: datetime | None
    text: str | None


class Machines:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(
        self,
        state: State | None = None,
        role: str = "",
        cluster: str = "",
        q: Annotated[str, Query(description="Part of a name, MAC, address or label.", max_length=200)] = "",
        after: After = "",
        limit: Limit = 200,
    ) -> Page[MachineOut]:
        """By name, from the snapshot: it trails an edit by at most 0.2 s; ``GET`` of one machine never does."""
        machines = [
            machine
            for machine in self._parts.snapshot.inventory.machines.values()
            if (state is None or machine.state is state)
            and (not role or machine.slot.role == role)
            and (not cluster or machine.slot.cluster == cluster)
            and (not q or _mentions(machine, q.lower()))
        ]
        return cut(machines, lambda machine: machine.name, after, limit, shown)

    def one(self, ref: str, response: Response) -> MachineDetail:
        """By name, id, MAC or address."""
        with self._parts.store.reading() as tx:
            return _detail(tx, tx.machines.get(ref), response)

    def add(self, fields: MachineFields, request: Request, response: Response) -> MachineDetail:
        """Needs at least ``name`` and ``mac``."""
        machine = enrol.add_machine(self._parts.store, fields.stated(), **self._who(request), roles=self._roles())
        response.headers["Location"] = f"/api/v1/machines/{machine.id}"
        return self._stored(machine, response)

    def change(
        self,
        ref: str,
        fields: MachineFields,
        request: Request,
        response: Response,
        plan: Plan = "",
        if_match: IfMatch = None,
    ) -> MachineDetail:
        """Change the fields that are sent."""
        machine = saving.change_machine(
            self._parts.store,
            self._parts.planner,
            ref,
            fields.stated(),
            plan=plan,
            **self._who(request),
            expect_version=edits.expected(if_match),
            roles=self._roles(),
        )
        return self._stored(machine, response)

    def remove(
        self,
        ref: str,
        request: Request,
        keep_slot: Annotated[bool, Query(description="Its slot stays, with name, role and addresses.")] = False,
        if_match: IfMatch = None,
    ) -> None:
        """Frees its addresses, unless its slot was listed by itself or is to stay."""
        enrol.remove_machine(
            self._parts.store,
            ref,
            **self._who(request),
            expect_version=edits.expected(if_match),
            keep_slot=keep_slot,
        )

    def arm(self, ref: str, request: Request, response: Response, wishes: ArmWishes | None = None) -> MachineDetail:
        """Compile and freeze what the machine will be told; its next netboot installs."""
        wishes = wishes or ArmWishes()
        machine = arm.arm(
            self._parts.store,
            self._parts.compiler,
            self._parts.token_key,
            ref,
            **self._who(request),
            hours=wishes.hours or self._parts.arm_hours,
            wipe=wishes.wipe,
        )
        return self._stored(machine, response)

    def disarm(self, ref: str, request: Request, response: Response) -> MachineDetail:
        """Void an armed install."""
        return self._stored(arm.disarm(self._parts.store, ref, **self._who(request)), response)

    def release(self, ref: str, request: Request, response: Response) -> MachineDetail:
        """Give a machine back: its tokens die, its disk is left alone."""
        return self._stored(arm.release(self._parts.store, ref, **self._who(request)), response)

    def retire(self, ref: str, request: Request, response: Response) -> MachineDetail:
        """Take a machine out of service."""
        return self._stored(arm.retire(self._parts.store, ref, **self._who(request)), response)

    def restore(self, ref: str, request: Request, response: Response) -> MachineDetail:
        """Take a retired machine back into service."""
        return self._stored(arm.restore(self._parts.store, ref, **self._who(request)), response)

    def accept(self, ref: str, request: Request, response: Response) -> MachineDetail:
        """Say that a quarantined machine's identity is right."""
        return self._stored(arm.accept(self._parts.store, ref, **self._who(request)), response)

    def approve(self, ref: str, request: Request, response: Response) -> MachineDetail:
        """Take in a machine that came by itself."""
        return self._stored(newcomers.approve(self._parts.store, ref, **self._who(request)), response)

    def install(self, ref: str, request: Request, response: Response, wishes: ArmWishes | None = None) -> JobOut:
        """Arm, then power-cycle to the network."""
        wishes = wishes or ArmWishes()
        job = power.enqueue_install(
            self._parts.store,
            self._parts.compiler,
            self._parts.token_key,
            [ref],
            **self._who(request),
            hours=wishes.hours or self._parts.arm_hours,
            wipe=wishes.wipe,
        )
        return jobs.accepted(response, job)

    def power(self, ref: str, wish: PowerWish, request: Request, response: Response) -> JobOut:
        """Ask the machine's BMC."""
        job = power.enqueue(self._parts.store, [ref], wish.operation, **self._who(request))
        return jobs.accepted(response, job)

    def power_many(self, wish: WavesWish, request: Request, response: Response) -> JobOut:
        """Ask the BMCs of many machines, in waves. A job that is interrupted goes on; nobody is switched twice."""
        job = power.enqueue(
            self._parts.store,
            wish.machines,
            wish.operation,
            **self._who(request),
            rack=wish.rack,
            wave=wish.wave,
            every=wish.every,
        )
        return jobs.accepted(response, job)

    def log(self, ref: str) -> LogOut:
        """The install log that the machine uploaded last, up to 256 KiB of its end."""
        with self._parts.store.reading() as tx:
            told = tx.events.list(machine_id=tx.machines.get(ref).id, limit=1000)
        last = next((event for event in told if event.kind is Kind.REPORT_LOG), None)
        if last is None:
            return LogOut(at=None, text=None)
        return LogOut(at=moment(last.at), text=str(last.data.get("text", "")))

    def _who(self, request: Request) -> dict[str, Any]:
        return {"actor": actor(request), "now": self._parts.clock()}

    def _roles(self) -> frozenset[str]:
        return self._parts.roles()

    def _stored(self, machine: Machine, response: Response) -> MachineDetail:
        with self._parts.store.reading() as tx:
            return _detail(tx, machine, response)


def shown(machine: Machine) -> MachineOut:
    """The machine as every list shows it; compiled bytes only by name."""
    return MachineOut.model_validate(_values(machine))


def _detail(tx: Transaction, machine: Machine, response: Response) -> MachineDetail:
    edits.tag(response, machine.version)
    phases = tx.machines.phases(machine.install.id) if machine.install else ()
    return MachineDetail.model_validate({**_values(machine), "phases": [_phase(record) for record in phases]})


def _values(machine: Machine) -> dict[str, Any]:
    slot = machine.slot
    return {
        "id": str(machine.id),
        "name": machine.name,
        "state": machine.state,
        "state_reason": machine.state_reason,
        "state_at": moment_or_none(machine.state_at),
        "role": slot.role,
        "ip": str(machine.ip) if machine.ip else None,
        "mac": str(machine.boot_mac) if machine.boot_mac else None,
        "interfaces": [
            InterfaceOut(mac=str(nic.mac), boot=nic.boot, switch_port=nic.switch_port, source=nic.source)
            for nic in machine.interfaces
        ],
        "addresses": [
            AddressOut(ip=str(address.ip), mac=str(address.mac) if address.mac else None)
            for address in machine.addresses
        ],
        "rack": slot.rack,
        "chassis": slot.chassis,
        "unit": slot.unit,
        "blade": slot.blade,
        "cluster": slot.cluster,
        "params": dict(slot.params),
        "options": show_options(slot.options),
        "switch_port": slot.switch_port,
        "menu": slot.menu,
        "live": machine.live,
        "labels": dict(machine.labels),
        "vendor": machine.vendor,
        "model": machine.model,
        "serial": machine.serial,
        "uuid": str(machine.uuid) if machine.uuid else None,
        "firmware": machine.firmware,
        "approved": machine.approved,
        "bmc_id": str(machine.bmc_id) if machine.bmc_id else None,
        "version": machine.version,
        "install": _install(machine.install) if machine.install else None,
    }


def _install(install: Install) -> InstallOut:
    return InstallOut(
        id=str(install.id),
        role=install.role,
        revision=install.revision,
        armed_at=moment(install.armed_at),
        deadline=moment(install.deadline),
        attempts=install.attempts,
        max_attempts=install.max_attempts,
        phase=install.phase,
        percent=install.percent,
        phase_at=moment_or_none(install.phase_at),
        outcome=install.outcome,
        reason=install.reason,
        files=sorted(install.files),
    )


def _phase(record: PhaseRecord) -> PhaseOut:
    return PhaseOut(
        phase=record.phase,
        first_at=moment(record.first_at),
        last_at=moment(record.last_at),
        percent=record.percent,
        message=record.message,
    )


def _mentions(machine: Machine, words: str) -> bool:
    facts = (
        machine.name,
        machine.slot.rack,
        machine.serial,
        *map(str, machine.macs),
        *(str(address.ip) for address in machine.addresses),
        *(f"{key}={value}" for key, value in machine.labels.items()),
    )
    return any(words in fact.lower() for fact in facts)
