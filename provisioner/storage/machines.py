"""The machine repository: slot, hardware, interfaces, addresses and install as one thing."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.domain.inventory import slot_order
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine, Phase
from provisioner.domain.records import PhaseRecord
from provisioner.storage import tables
from provisioner.storage.machine_rows import counter_values, load_machines, progress_values
from provisioner.storage.machine_writes import KIND, write_machines
from provisioner.storage.session import Session, check_version, found, uuid_or_none


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
        m = tables.machines
        here = select(m.c.id).where(m.c.bmc_id == bmc_id).order_by(m.c.id).limit(1)
        machine_id = self._run(here).scalar_one_or_none()
        return self._by_id(machine_id) if machine_id else None

    def list(self) -> Sequence[Machine]:
        """In the order in which people walk along racks; 5,000 machines' compiled bytes are 250 MB."""
        return sorted(load_machines(self._session.connection, files="none"), key=slot_order)

    def put(self, item: Machine, expect_version: int | None = None) -> Machine:
        stored = self._run(select(tables.machines.c.version).where(tables.machines.c.id == item.id))
        check_version(KIND, item.name, stored.scalar_one_or_none(), expect_version)
        return write_machines(self._session, [item])[0]

    def put_many(self, items: Sequence[Machine], known: Mapping[UUID, Machine] | None = None) -> Sequence[Machine]:
        return write_machines(self._session, items, known)

    def remove(self, item_id: UUID) -> None:
        """Its slot and addresses go too, unless the slot is one that stays."""
        s = tables.slots
        machine = found(self._by_id(item_id), KIND, item_id)
        self._session.change(KIND, item_id)
        self._run(delete(tables.machines).where(tables.machines.c.id == item_id))
        if machine.slot.implicit:
            self._run(delete(s).where(s.c.id == machine.slot.id))
        else:
            self._session.change("slot", machine.slot.id)
            self._run(update(s).where(s.c.id == machine.slot.id).values(version=machine.slot.version + 1))
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

    def forget_files(self, *, before: int, limit: int) -> int:
        i, f, m = tables.installs, tables.install_files, tables.machines
        latest = select(m.c.install_id).where(m.c.install_id.is_not(None))
        holding = select(f.c.install_id).where(f.c.install_id == i.c.id).exists()
        old = select(i.c.id).where(i.c.armed_at < before, i.c.id.not_in(latest), holding)
        ids = self._run(old.order_by(i.c.armed_at).limit(limit)).scalars().all()
        if ids:
            self._session.touch()
            self._run(delete(f).where(f.c.install_id.in_(ids)))
        return len(ids)

    def _by_id(self, machine_id: UUID) -> Machine | None:
        return next(iter(load_machines(self._session.connection, [machine_id])), None)

    def _candidates(self, ref: str) -> Iterable[UUID]:
        """Ids of the machines that ``ref`` may mean: by id, name, MAC, address, in this order."""
        m, s, i, a = tables.machines, tables.slots, tables.interfaces, tables.addresses
        if machine_id := uuid_or_none(ref):
            yield machine_id
        yield from self._run(select(m.c.id).join(s).where(s.c.name == ref)).scalars()
        with suppress(InvalidValue):
            mac = Mac.parse(ref)
            yield from self._run(select(i.c.machine_id).where(i.c.mac == mac)).scalars()
        with suppress(ValueError):
            ip = ip_address(ref)
            yield from self._run(select(m.c.id).join(a, a.c.slot_id == m.c.slot_id).where(a.c.ip == ip)).scalars()
