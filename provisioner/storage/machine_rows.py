"""Machines between rows and the domain: aggregates are read in five queries, however many there are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, or_, select

from provisioner.domain.machine import Address, Install, Interface, Machine, OnFailure, Phase, Slot, State
from provisioner.storage import tables
from provisioner.storage.claims import chunks

SLOT_FIELDS = (
    "name",
    "rack",
    "chassis",
    "unit",
    "blade",
    "role",
    "params",
    "cluster",
    "implicit",
    "switch_port",
    "armed_itself",
    "menu",
)
HARDWARE_FIELDS = ("vendor", "model", "serial", "uuid", "firmware")
COUNTERS = (
    "deadline",
    "attempts",
    "boots",
    "attempt_boot",
    "phase",
    "percent",
    "phase_at",
    "outcome",
    "reason",
    "power_cycles",
)
"""What changes about an install after arming."""


def load_machines(
    connection: Connection, ids: Iterable[UUID] | None = None, *, files: str = "all"
) -> list[Machine]:
    """The machines with these ids (None: all), in no order; ids of nothing are left out.

    ``files``: compiled bytes of 'all' installs, of 'live' ones (open or failed: those a boot may ask for),
    'none', or of live ones the part of that name.
    """
    if ids is None:
        return _load(connection, None, files)
    wanted = list(ids)
    return [machine for chunk in chunks(wanted) for machine in _load(connection, chunk, files)]


@cache
def _queries(files: str, chosen: bool) -> tuple[Select[Any], ...]:
    """Heads, interfaces, addresses, installs and compiled files. Made once: that takes as long as asking them."""
    m, s, i, a = tables.machines, tables.slots, tables.interfaces, tables.addresses
    heads = select(m, *(s.c[name].label(f"slot_{name}") for name in (*SLOT_FIELDS, "options", "version"))).join(s)
    nics = select(i).order_by(i.c.machine_id, i.c.position)
    reserved = select(a, m.c.id.label("machine_id")).join(m, m.c.slot_id == a.c.slot_id).order_by(a.c.position)
    # The latest install only; earlier ones are history.
    latest = select(tables.installs).join(m, m.c.install_id == tables.installs.c.id)
    compiled = select(tables.install_files).join(m, m.c.install_id == tables.install_files.c.install_id)
    if files != "all":
        compiled = compiled.join(tables.installs, tables.installs.c.id == m.c.install_id).where(
            or_(tables.installs.c.outcome == "", tables.installs.c.outcome == "failed")
        )
    if files not in ("all", "live"):
        compiled = compiled.where(tables.install_files.c.name == files)
    if chosen:
        here = m.c.id.in_(bindparam("ids", expanding=True))
        heads, reserved, latest, compiled = (q.where(here) for q in (heads, reserved, latest, compiled))
        nics = nics.where(i.c.machine_id.in_(bindparam("ids", expanding=True)))
    return heads, nics, reserved, latest, compiled


def _load(connection: Connection, ids: Sequence[UUID] | None, files: str) -> list[Machine]:
    heads, nics, reserved, latest, compiled = _queries(files, ids is not None)
    chosen = {} if ids is None else {"ids": ids}
    head_rows = connection.execute(heads, chosen).all()
    if not head_rows:
        # Every new machine of an import comes this way.
        return []
    interfaces: dict[UUID, list[Interface]] = defaultdict(list)
    for row in connection.execute(nics, chosen):
        interfaces[row.machine_id].append(Interface(row.id, row.mac, row.boot, row.switch_port, row.source))
    addresses: dict[UUID, list[Address]] = defaultdict(list)
    for row in connection.execute(reserved, chosen):
        addresses[row.machine_id].append(Address(row.id, row.ip, row.mac))
    contents: dict[UUID, dict[str, bytes]] = defaultdict(dict)
    if files != "none":
        for row in connection.execute(compiled, chosen):
            contents[row.install_id][row.name] = row.content
    installs = {row.id: _install(row, contents.get(row.id, {})) for row in connection.execute(latest, chosen)}
    return [
        Machine(
            id=row.id,
            slot=slot_from(row, "slot_"),
            state=State(row.state),
            interfaces=tuple(interfaces.get(row.id, ())),
            addresses=tuple(addresses.get(row.id, ())),
            labels=row.labels,
            bmc_id=row.bmc_id,
            state_reason=row.state_reason,
            state_at=row.state_at,
            install=installs.get(row.install_id),
            version=row.version,
            vendor=row.vendor,
            model=row.model,
            serial=row.serial,
            uuid=row.uuid,
            firmware=row.firmware,
            approved=row.approved,
            live=row.live,
        )
        for row in head_rows
    ]


def slot_from(row: Row[Any], prefix: str = "") -> Slot:
    """The slot whose columns are called ``prefix`` and the field's name."""
    fields = {name: getattr(row, prefix + name) for name in ("id", *SLOT_FIELDS, "options", "version")}
    options = {int(code): bytes.fromhex(value) for code, value in fields["options"].items()}
    return Slot(**{**fields, "options": options})


def _install(row: Row[Any], files: Mapping[str, bytes]) -> Install:
    return Install(
        id=row.id,
        role=row.role,
        revision=row.revision,
        token_hash=row.token_hash,
        machine_token_hash=row.machine_token_hash,
        armed_at=row.armed_at,
        deadline=row.deadline,
        max_attempts=row.max_attempts,
        attempts=row.attempts,
        boots=row.boots,
        attempt_boot=row.attempt_boot,
        phase=Phase(row.phase) if row.phase else None,
        percent=row.percent,
        phase_at=row.phase_at,
        outcome=row.outcome,
        reason=row.reason,
        on_failure=OnFailure(row.on_failure),
        wipe=row.wipe,
        power_cycles=row.power_cycles,
        files=files,
    )


def slot_values(slot: Slot) -> dict[str, Any]:
    """All columns of a slot but its version."""
    return {
        "id": slot.id,
        **{name: getattr(slot, name) for name in SLOT_FIELDS},
        "params": dict(slot.params),
        "options": {str(code): value.hex() for code, value in slot.options.items()},
    }


def hardware_values(machine: Machine) -> dict[str, Any]:
    """All columns of a machine but its version."""
    return {
        "id": machine.id,
        "slot_id": machine.slot.id,
        "labels": dict(machine.labels),
        "bmc_id": machine.bmc_id,
        "install_id": machine.install.id if machine.install else None,
        "vendor": machine.vendor,
        "model": machine.model,
        "serial": machine.serial,
        "uuid": machine.uuid,
        **progress_values(machine),
    }


def interface_rows(machine: Machine) -> list[dict[str, Any]]:
    return [
        {
            "id": nic.id,
            "machine_id": machine.id,
            "position": position,
            "mac": nic.mac,
            "boot": nic.boot,
            "switch_port": nic.switch_port,
            "source": nic.source,
        }
        for position, nic in enumerate(machine.interfaces)
    ]


def address_rows(slot_id: UUID, addresses: Iterable[Address]) -> list[dict[str, Any]]:
    return [
        {"id": at.id, "slot_id": slot_id, "position": position, "ip": at.ip, "mac": at.mac}
        for position, at in enumerate(addresses)
    ]


def progress_values(machine: Machine) -> dict[str, Any]:
    """The columns that ``put_progress`` may write."""
    return {
        "state": machine.state,
        "state_reason": machine.state_reason,
        "state_at": machine.state_at,
        "firmware": machine.firmware,
        "approved": machine.approved,
        "live": machine.live,
    }


def install_values(machine_id: UUID, install: Install) -> dict[str, Any]:
    """All columns of an install; its files are rows of their own."""
    frozen = ("id", "role", "revision", "token_hash", "armed_at", "max_attempts", "on_failure", "wipe")
    return {
        "machine_id": machine_id,
        **{name: getattr(install, name) for name in frozen},
        **counter_values(install),
    }


def counter_values(install: Install) -> dict[str, Any]:
    """The columns of an install that change after arming; a release revokes the machine token."""
    return {name: getattr(install, name) for name in (*COUNTERS, "machine_token_hash")}
