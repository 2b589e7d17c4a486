"""A place in the rack as the store keeps it: the slot, its addresses, and whether hardware sits in it."""

from dataclasses import dataclass
from uuid import UUID

from provisioner.domain.machine import Address, Slot


@dataclass(frozen=True, slots=True)
class Place:
    """A slot with the addresses reserved for whatever board comes into it."""

    slot: Slot
    addresses: tuple[Address, ...] = ()
    machine_id: UUID | None = None
    """None: empty. Its addresses are nobody else's all the same."""

    @property
    def name(self) -> str:
        return self.slot.name
