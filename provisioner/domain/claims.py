"""Who has each value that only one may have: a MAC, an address, a name, the seat in a slot."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from provisioner.domain.errors import Conflict, InvalidValue
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from provisioner.domain.place import Place

Claim = tuple[str, object]
"""Field and value."""


class Claims:
    """Values and their holders. Whoever is about to change is released first, so that two may swap."""

    def __init__(self) -> None:
        self._holders: dict[Claim, tuple[str, str]] = {}

    @classmethod
    def of(cls, inventory: Inventory) -> "Claims":
        """Everything that the inventory's machines and empty slots have."""
        claims = cls()
        items: list[Machine | Place] = [*inventory.machines.values(), *inventory.places.values()]
        for item in items:
            claims._holders.update(dict.fromkeys(claimed(item), _who(item)))
        return claims

    def hold(self, field: str, value: object, kind: str, name: str) -> None:
        """``kind`` (machine or slot) ``name`` has this."""
        self._holders[field, value] = kind, name

    def release(self, item: Machine | Place) -> None:
        """What it had is free."""
        for claim in claimed(item):
            self._holders.pop(claim, None)

    def take(self, item: Machine | Place) -> None:
        """It has its values from now on.

        Raises InvalidValue for what it names twice, Conflict for what somebody else has; then it has nothing.
        """
        kind, name = _who(item)
        wanted = Counter(claimed(item))
        for (field, value), times in wanted.items():
            if times > 1:
                raise InvalidValue(field, value, f"is given twice to {kind} {name}", "give it once")
        for field, value in wanted:
            if holder := self._holders.get((field, value)):
                raise Conflict(
                    field,
                    value,
                    " ".join(holder),
                    f"`provisioner {' show '.join(holder)}` shows it; change it there or give another one here",
                )
        self._holders.update(dict.fromkeys(wanted, (kind, name)))


def claimed(item: Machine | Place) -> Iterator[Claim]:
    """The unique values of a machine or of an empty slot."""
    yield "name", item.slot.name
    if item.slot.switch_port:
        yield "switch_port", item.slot.switch_port
    if isinstance(item, Machine):
        yield "slot", item.slot.id
        yield from (("mac", mac) for mac in item.macs)
    yield from (("ip", address.ip) for address in item.addresses)


def shared_bmcs(
    changes: Sequence[tuple[Machine | None, Machine]], held: Mapping[UUID, str]
) -> Iterator[tuple[Machine, str]]:
    """Who would get a BMC that another machine has, and that one's name: its power would be switched for both.

    ``changes``: machines before and after. ``held``: whose the BMCs are that nobody gives up. What a machine had
    before stays with it, so that an inventory from before this rule can be put right one by one.
    """
    holders = dict(held)
    fresh: list[tuple[Machine, UUID]] = []
    for before, after in changes:
        if after.bmc_id is None:
            continue
        if before is not None and before.bmc_id == after.bmc_id:
            holders.setdefault(after.bmc_id, after.name)
        else:
            fresh.append((after, after.bmc_id))
    for machine, bmc_id in fresh:
        if (holder := holders.setdefault(bmc_id, machine.name)) != machine.name:
            yield machine, holder


def bmc_taken(address: str, holder: str) -> Conflict:
    """The refusal of a second machine behind one BMC."""
    remedy = f"name another one here, or first take it away there: `provisioner machine set {holder} --bmc ''`"
    return Conflict("bmc", address, f"machine {holder}", remedy)


def values(items: Iterable[Machine | Place], field: str) -> list[object]:
    """All values of one field that these want."""
    return [value for item in items for name, value in claimed(item) if name == field]


def _who(item: Machine | Place) -> tuple[str, str]:
    return ("machine" if isinstance(item, Machine) else "slot"), item.name
