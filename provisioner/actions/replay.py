"""Journalled happenings, applied once the database is back."""

from collections.abc import Mapping
from typing import Any

from provisioner.actions.happening import Happening, carry_out
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import Store


def replay(store: Store, entry: Mapping[str, Any]) -> None:
    """Apply one entry of the journal; a second time counts no attempt and ends no install again.

    An entry that no longer fits (released, armed again, removed) becomes an event. Raises StoreUnavailable: keep
    the entry and try later; ValueError or KeyError for an entry that nobody of us wrote.
    """
    happening = Happening.read(entry)
    try:
        with store.transaction("machine") as tx:
            carry_out(tx, tx.machines.get(str(happening.machine_id)), happening)
    except Refused as refusal:
        with store.transaction("machine") as tx:
            there = tx.machines.find(str(happening.machine_id))
            tx.events.add(
                Event(
                    Kind.SERVICE,
                    f"journalled while the database was away, not applied: {happening.what}; {refusal}",
                    happening.at,
                    machine_id=there.id if there else None,
                    actor="appliance",
                )
            )
