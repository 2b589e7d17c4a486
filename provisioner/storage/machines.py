"""The machine repository: slot, hardware, interfaces, addresses and install as one thing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID

from sqlalchemy import bindparam, delete, func, insert, select, update

from provisioner.domain.errors import Conflict, InvalidValue, NotFound
from provisioner.domain.inventory import slot_order
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Install, Machine, Phase
from provisioner.domain.option_set import show_options
from provisioner.domain.records import PhaseRecord
from provisioner.storage import tables
from provisioner.storage.machine_rows import (
    HARDWARE_FIELDS,
    SLOT_FIELDS,
    counter_values,
    hardware_values,
    install_values,
    load_machines,
    progress_values,
    slot_values,
)
from provisioner.storage.session import Session, check_version, differing, found, uuid_or_none

KIND = "machine"

_s, _m = tables.slots, tables.machines
_HOLDERS = {
    field: select(column, _s.c.name, _m.c.id)
    .select_from(source)
    .where(column.in_(bindparam(f"{field}s", expanding=True)))
    for field, column, source in (
        ("name", _s.c.name, _s.join(_m)),
        ("slot", _s.c.id, _s.join(_m)),
        ("mac", tables.interfaces.c.mac, tables.interfaces.join(_m).join(_s)),
        ("ip", tables.addresses.c.ip, tables.addresses.join(_s).join(_m)),
    )
}
"""Who has a unique value. Built once: an import asks this for every row."""


class MachineRows:
    """Implements ``ports.MachineRepository``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def find(self, ref: str) -> Machine | None:
        for machine_id in self._candidates(ref):
            if machine := self._by_id(machine_id):
                return machine
        return None

    def get(self, ref: str) -> Machine:
        return found(self.find(ref), KIND, ref)

    def behind(self, bmc_id: UUID) -> Machine | None:
        here = select(_m.c.id).where(_m.c.bmc_id == bmc_id).order_by(_m.c.id).limit(1)
        machine_id = self._run(here).scalar_one_or_none()
        return self._by_id(machine_id) if machine_id else None

    def list(self) -> Sequence[Machine]:
        """All with their compiled files, in the order in which people walk along racks."""
        return sorted(load_machines(self._session.connection), key=slot_order)

    def put(self, item: Machine, expect_version: int | None = None) -> Machine:
        """An install's compiled files are stored when the install is new and never change after."""
        stored = self._by_id(item.id)
        check_version(KIND, item.name, stored.version if stored else None, expect_version)
        self._refuse_conflicts(item)
        self._session.change(KIND, item.id)
        slot_version, version = _versions(stored, item)
        item = replace(item, version=version, slot=replace(item.slot, version=slot_version))

        self._put_slot(stored, item)
        hardware = {**hardware_values(item), "version": version}
        if stored is None:
            self._run(insert(tables.machines), hardware)
        else:
            self._run(update(tables.machines).where(tables.machines.c.id == item.id).values(hardware))
            if stored.slot.id != item.slot.id:
                self._run(delete(tables.slots).where(tables.slots.c.id == stored.slot.id))
        self._put_parts(stored, item)
        self._record_put(stored, item)
        return item

    def remove(self, item_id: UUID) -> None:
        """The slot and its addresses go too: a place without a machine is not shown anywhere yet."""
        machine = found(self._by_id(item_id), KIND, item_id)
        self._session.change(KIND, item_id)
        self._run(delete(tables.machines).where(tables.machines.c.id == item_id))
        self._run(delete(tables.slots).where(tables.slots.c.id == machine.slot.id))
        self._session.record("remove", KIND, item_id, machine.name, {})

    def newcomers(self) -> int:
        m, i = tables.machines, tables.interfaces
        query = select(func.count(m.c.id.distinct())).select_from(m.join(i))
        return int(self._run(query.where(m.c.state == "new", i.c.source == "dhcp")).scalar_one())

    def put_progress(self, machine: Machine) -> None:
        m, i = tables.machines, tables.installs
        before = self._run(select(m.c.state).where(m.c.id == machine.id)).scalar_one_or_none()
        if before is None:
            raise NotFound(KIND, machine.name)
        self._session.change(KIND, machine.id)
        self._run(update(m).where(m.c.id == machine.id).values(progress_values(machine)))
        if machine.install:
            self._run(update(i).where(i.c.id == machine.install.id).values(counter_values(machine.install)))
        if before != machine.state:
            change = {"state": [before, str(machine.state)]}
            self._session.record("progress", KIND, machine.id, machine.name, change)

    def phases(self, install_id: UUID) -> Sequence[PhaseRecord]:
        return self.phases_of([install_id]).get(install_id, [])

    def phases_of(self, install_ids: Iterable[UUID]) -> Mapping[UUID, Sequence[PhaseRecord]]:
        r = tables.reports
        rows = self._run(select(r).where(r.c.install_id.in_(list(install_ids))).order_by(r.c.first_at, r.c.last_at))
        reached: dict[UUID, list[PhaseRecord]] = {}
        for row in rows:
            record = PhaseRecord(
                row.install_id, Phase(row.phase), row.first_at, row.last_at, row.percent, row.message
            )
            reached.setdefault(row.install_id, []).append(record)
        return reached

    def put_phase(self, record: PhaseRecord) -> None:
        r = tables.reports
        self._session.touch()
        moved = {"last_at": record.last_at, "percent": record.percent, "message": record.message}
        here = (r.c.install_id == record.install_id) & (r.c.phase == str(record.phase))
        if self._run(update(r).where(here).values(moved)).rowcount == 0:
            self._run(
                insert(r).values(
                    install_id=record.install_id, phase=record.phase, first_at=record.first_at, **moved
                )
            )

    def _by_id(self, machine_id: UUID) -> Machine | None:
        return next(iter(load_machines(self._session.connection, [machine_id])), None)

    def _candidates(self, ref: str) -> Iterable[UUID]:
        """Ids of the machines that ``ref`` may mean: by name, id, MAC, address, in this order."""
        m, s, i, a = tables.machines, tables.slots, tables.interfaces, tables.addresses
        yield from self._run(select(m.c.id).join(s).where(s.c.name == ref)).scalars()
        if machine_id := uuid_or_none(ref):
            yield machine_id
        with suppress(InvalidValue):
            mac = Mac.parse(ref)
            yield from self._run(select(i.c.machine_id).where(i.c.mac == mac)).scalars()
        with suppress(ValueError):
            ip = ip_address(ref)
            yield from self._run(select(m.c.id).join(a, a.c.slot_id == m.c.slot_id).where(a.c.ip == ip)).scalars()

    def _refuse_conflicts(self, item: Machine) -> None:
        """Unique values are looked up first, so that the refusal can name who has them."""
        ips = [address.ip for address in item.addresses]
        for name, values in (("mac", item.macs), ("ip", ips)):
            for value, times in Counter(values).items():
                if times > 1:
                    raise InvalidValue(name, value, f"is given twice to machine {item.name}", "give it once")
        wanted = {"names": [item.name], "slots": [item.slot.id], "macs": item.macs, "ips": ips}
        for field, query in _HOLDERS.items():
            for value, holder, holder_id in self._run(query, {f"{field}s": wanted[f"{field}s"]}):
                if holder_id != item.id:
                    remedy = (
                        f"`provisioner machine show {holder}` shows it; change it there or give another one here"
                    )
                    raise Conflict(field, value, f"machine {holder}", remedy)
        if item.bmc_id is not None:
            known = select(tables.bmcs.c.id).where(tables.bmcs.c.id == item.bmc_id)
            found(self._run(known).scalar_one_or_none(), "bmc", item.bmc_id)

    def _put_slot(self, stored: Machine | None, item: Machine) -> None:
        s = tables.slots
        values = {**slot_values(item.slot), "version": item.slot.version}
        if stored is not None and stored.slot.id == item.slot.id:
            self._run(update(s).where(s.c.id == item.slot.id).values(values))
            return
        if stored is not None:
            # The old slot goes once nothing points to it; until then it must not hold the machine's name.
            self._run(update(s).where(s.c.id == stored.slot.id).values(name=f"left {stored.slot.id}"))
        self._run(insert(s), values)

    def _put_parts(self, stored: Machine | None, item: Machine) -> None:
        i, a = tables.interfaces, tables.addresses
        if stored is None or stored.interfaces != item.interfaces:
            self._run(delete(i).where(i.c.machine_id == item.id))
            rows = [
                {
                    "id": nic.id,
                    "machine_id": item.id,
                    "position": position,
                    "mac": nic.mac,
                    "boot": nic.boot,
                    "switch_port": nic.switch_port,
                    "source": nic.source,
                }
                for position, nic in enumerate(item.interfaces)
            ]
            if rows:
                self._run(insert(i), rows)
        if stored is None or stored.addresses != item.addresses or stored.slot.id != item.slot.id:
            self._run(delete(a).where(a.c.slot_id == item.slot.id))
            rows = [
                {"id": at.id, "slot_id": item.slot.id, "position": position, "ip": at.ip, "mac": at.mac}
                for position, at in enumerate(item.addresses)
            ]
            if rows:
                self._run(insert(a), rows)
        if item.install is not None:
            self._put_install(item.id, item.install)

    def _put_install(self, machine_id: UUID, install: Install) -> None:
        i = tables.installs
        values = install_values(machine_id, install)
        if self._run(update(i).where(i.c.id == install.id).values(values)).rowcount:
            return
        self._run(insert(i), values)
        rows = [
            {"install_id": install.id, "name": name, "content": content} for name, content in install.files.items()
        ]
        if rows:
            self._run(insert(tables.install_files), rows)

    def _record_put(self, stored: Machine | None, item: Machine) -> None:
        fields = {
            **differing(stored.slot if stored else None, item.slot, SLOT_FIELDS),
            **differing(stored.slot if stored else None, item.slot, ("options",), lambda o: str(show_options(o))),
            **differing(stored, item, (*HARDWARE_FIELDS, "state", "bmc_id", "labels")),
            **differing(stored, item, ("macs",), lambda macs: " ".join(map(str, macs))),
            **differing(stored, item, ("addresses",), lambda given: " ".join(str(at.ip) for at in given)),
        }
        if item.install and (stored is None or stored.install is None or stored.install.id != item.install.id):
            fields["install"] = [None, str(item.install.id)]
        self._session.record("put", KIND, item.id, item.name, fields)


def _versions(stored: Machine | None, item: Machine) -> tuple[int, int]:
    """Slot's and machine's version after this edit: counted up when intent differs from what is stored."""
    if stored is None:
        return 1, 1
    same_slot = replace(item.slot, version=stored.slot.version) == stored.slot
    before = (stored.interfaces, stored.addresses, dict(stored.labels), stored.bmc_id)
    same = same_slot and before == (item.interfaces, item.addresses, dict(item.labels), item.bmc_id)
    return stored.slot.version + (not same_slot), stored.version + (not same)
