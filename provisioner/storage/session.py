"""What the repositories of one transaction share: connection, actor, and the account of what was changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, text

from provisioner.domain.errors import InvalidValue, NotFound, StaleEdit
from provisioner.storage import tables
from provisioner.storage.database import NOTIFY_CHANNEL

T = TypeVar("T")

CHANGES_KEPT = 20_000
"""Rows of ``changes`` that stay; a feed that was away for longer reads everything anew."""


@dataclass(slots=True)
class Session:
    """One transaction's state. ``actor`` is who stands in the audit for what is done from then on."""

    connection: Connection
    actor: str
    now: int
    """UTC microseconds at the start."""
    writable: bool = True
    touched: bool = False
    changed: dict[tuple[str, UUID | None], None] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    """Audit rows; written at the end, all at once."""

    def touch(self) -> None:
        """Something was written. Raises RuntimeError in a view that was opened for reading."""
        if not self.writable:
            raise RuntimeError("this transaction was opened for reading; use Store.transaction(actor)")
        self.touched = True

    def change(self, kind: str, ref: UUID | None) -> None:
        """The change feed must see this thing anew."""
        self.touch()
        self.changed[kind, ref] = None

    def record(self, action: str, kind: str, ref: UUID | str, name: str, fields: Mapping[str, Any]) -> None:
        """An audit row: who did what to which thing, and how its fields were and are."""
        self.touch()
        row = {"at": self.now, "actor": self.actor, "action": action, "kind": kind, "ref": str(ref), "name": name}
        self.records.append({**row, "fields": fields})

    def close(self) -> int:
        """Write audit and changes, ring the bell. Returns the last seq, 0 if nothing that is fed was changed."""
        if self.records:
            self.connection.execute(insert(tables.audit), self.records)
        seq = 0
        if self.changed:
            rows = [{"kind": kind, "ref": ref} for kind, ref in self.changed]
            self.connection.execute(insert(tables.changes), rows)
            seq = self.connection.execute(select(func.max(tables.changes.c.seq))).scalar_one()
            if seq // 1000 != (seq - len(rows)) // 1000:
                self.connection.execute(delete(tables.changes).where(tables.changes.c.seq < seq - CHANGES_KEPT))
        if self.touched and self.connection.dialect.name == "postgresql":
            self.connection.execute(
                text("SELECT pg_notify(:channel, :seq)"), {"channel": NOTIFY_CHANNEL, "seq": str(seq)}
            )
        return seq


def found(item: T | None, kind: str, ref: object) -> T:
    """``item``, or NotFound."""
    if item is None:
        raise NotFound(kind, ref)
    return item


def check_version(kind: str, name: str, stored: int | None, expected: int | None) -> None:
    """Raises StaleEdit when somebody changed or removed the thing since it was read."""
    if expected is None or expected == stored:
        return
    what = "was removed" if stored is None else f"is at version {stored}, not {expected}"
    raise StaleEdit(f"{kind} {name} {what}: somebody else changed it", "read it again and repeat the edit")


def refuse_version(kind: str, expected: int | None) -> None:
    """For kinds whose edits are not counted."""
    if expected is not None:
        raise InvalidValue("expect_version", expected, f"cannot be given: a {kind} has no versions", "leave it out")


def differing(old: Any, new: Any, names: tuple[str, ...], show: Callable[[Any], Any] = str) -> dict[str, list[Any]]:
    """``{field: [before, after]}`` of those attributes that differ; ``old`` None: all that are set now."""
    fields = {}
    for name in names:
        before, after = (getattr(old, name) if old is not None else None), getattr(new, name)
        if before != after and not (old is None and not after):
            fields[name] = [None if before is None else show(before), None if after is None else show(after)]
    return fields


def uuid_or_none(ref: str) -> UUID | None:
    """``ref`` read as an id."""
    try:
        return UUID(ref)
    except ValueError:
        return None
