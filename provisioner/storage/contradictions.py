"""The vendor's list, and where it disagrees with what BMCs and DHCP tell."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, insert, select

from provisioner.domain.mac import Mac
from provisioner.domain.reconcile import Account, Finding
from provisioner.storage.session import Session
from provisioner.storage.tables import contradictions, vendor_rows


class ContradictionRows:
    """Implements ``ports.Contradictions``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def vendor_list(self) -> Sequence[Account]:
        rows = self._run(select(vendor_rows).order_by(vendor_rows.c.position))
        return [Account(row.name, tuple(Mac.parse(mac) for mac in row.macs), row.bmc) for row in rows]

    def put_vendor_list(self, rows: Sequence[Account]) -> None:
        self._session.record("put", "vendor-list", "", "", {"rows": len(rows)})
        self._run(delete(vendor_rows))
        values = [
            {"position": at, "name": row.name, "macs": [str(mac) for mac in row.macs], "bmc": row.bmc}
            for at, row in enumerate(rows)
        ]
        if values:
            self._run(insert(vendor_rows), values)

    def replace(self, found: Iterable[tuple[UUID, Finding]]) -> None:
        self._session.touch()
        self._run(delete(contradictions))
        values = [
            {
                "machine_id": machine_id,
                "kind": finding.kind,
                "machines": list(finding.machines),
                "listed": finding.listed,
                "found": finding.found,
                "fix": finding.fix,
            }
            for machine_id, finding in found
        ]
        if values:
            self._run(insert(contradictions), values)

    def of(self, machine_id: UUID) -> Sequence[Finding]:
        query = select(contradictions).where(contradictions.c.machine_id == machine_id)
        return [_finding(row) for row in self._run(query.order_by(contradictions.c.id))]

    def list(self) -> Sequence[tuple[UUID, Finding]]:
        rows = self._run(select(contradictions).order_by(contradictions.c.id))
        return [(row.machine_id, _finding(row)) for row in rows]


def _finding(row: Row[Any]) -> Finding:
    return Finding(row.kind, tuple(row.machines), row.listed, row.found, row.fix)
