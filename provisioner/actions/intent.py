"""What operators state, read into slots and machines. Nothing here reads or writes the store by itself."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any
from uuid import UUID, uuid4

from provisioner.actions import fields as read
from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import IllegalTransition, InvalidValue
from provisioner.domain.inventory import Inventory
from provisioner.domain.lifecycle import settled
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, IPAddress, Machine, Slot, State
from provisioner.domain.place import Place
from provisioner.domain.ports import Transaction

SLOT_FIELDS = (
    "name",
    "ip",
    "role",
    "rack",
    "unit",
    "chassis",
    "blade",
    "cluster",
    "params",
    "options",
    "switch_port",
    "menu",
)
"""What an operator may state about a place."""

FIELDS = (
    "name",
    "mac",
    "ip",
    "role",
    "rack",
    "unit",
    "chassis",
    "blade",
    "cluster",
    "bmc",
    "labels",
    "params",
    "options",
    "switch_port",
    "menu",
    "vendor",
    "model",
    "serial",
)
"""What an operator may state about a machine; ``macs`` is accepted for ``mac``."""

Fields = Mapping[str, Any]


class BmcBook:
    """BMCs by address. One that is not listed yet is noted under ``new`` (its login comes by ``bmc add``)."""

    def __init__(self, find: Callable[[str], Bmc | None]) -> None:
        self._find = find
        self.new: dict[str, Bmc] = {}

    def at(self, value: object) -> UUID | None:
        """The id of the BMC at this address; None for an empty value. Raises InvalidValue."""
        if not value:
            return None
        address = str(read.address(value, "bmc"))
        found = self._find(address) or self.new.get(address)
        if found is None:
            found = self.new[address] = Bmc(uuid4(), address)
        return found.id


@dataclass(frozen=True, slots=True)
class Rules:
    """What values are checked against: subnets for addresses, role names if roles are known, BMCs, empty slots."""

    inventory: Inventory
    roles: frozenset[str] | None
    bmcs: BmcBook
    empty: Callable[[str], Place | None]
    """The empty slot of this name."""
    ours: Collection[IPAddress]
    """The appliance's addresses."""


def rules_in(tx: Transaction, roles: frozenset[str] | None) -> Rules:
    """For one machine: what it needs is looked up."""

    def empty(name: str) -> Place | None:
        place = tx.slots.find(name)
        return place if place is not None and place.name == name and place.machine_id is None else None

    return Rules(Inventory.build((), tx.subnets.list()), roles, BmcBook(tx.bmcs.find), empty, tx.ours)


def rules_over(tx: Transaction, inventory: Inventory, roles: frozenset[str] | None) -> Rules:
    """For many machines: everything is there already."""
    at: dict[str, list[Bmc]] = {}
    for bmc in tx.bmcs.list():
        at.setdefault(bmc.address, []).append(bmc)
    places = {place.name: place for place in inventory.places.values()}

    def find(address: str) -> Bmc | None:
        found = at.get(address, ())
        return found[0] if len(found) == 1 else tx.bmcs.find(address) if found else None

    return Rules(inventory, roles, BmcBook(find), places.get, tx.ours)


def planned(machine: Machine | None, fields: Fields, *, now: int, rules: Rules) -> Machine:
    """The machine with these fields set; None: a new one, which takes the empty slot of its name if there is one.

    Raises InvalidValue, IllegalTransition.
    """
    fields = dict(fields)
    if "macs" in fields:
        fields["mac"] = fields.pop("macs")
    refuse_unknown(fields, FIELDS)
    if machine is None:
        for field in ("name", "mac"):
            if not fields.get(field):
                raise InvalidValue(field, fields.get(field, ""), "is missing", f"a machine needs its {field}")
        name = read.host_name(fields["name"])
        place = rules.empty(name)
        if place is not None:
            fields = _agreeing(place, fields, rules)
            macs = read.macs(fields["mac"])
            machine = Machine(uuid4(), place.slot, addresses=seated(place.addresses, macs), state_at=now)
        else:
            machine = Machine(uuid4(), Slot(uuid4(), name), state_at=now)
    after = settled(machine_with(machine, fields, rules), now)
    refuse_told(machine, after)
    return after


def refuse_told(before: Machine, after: Machine) -> None:
    """Name, boot MAC and addresses stand in what was compiled: they do not change under an install.

    It would finish with those of before, which may be another machine's by then; and a network that is configured
    for a MAC which is not there reaches nobody. Raises IllegalTransition.
    """
    if before.state not in (State.ARMED, State.INSTALLING):
        return
    ips, others = ([str(address.ip) for address in machine.addresses] for machine in (before, after))
    for what, was, wanted in (
        ("name", before.name, after.name),
        ("MAC", str(before.boot_mac), str(after.boot_mac)),
        ("address", ", ".join(ips) or "none", ", ".join(others) or "none"),
    ):
        if was != wanted:
            remedy = (
                f"`provisioner machine disarm {before.name}` first, change it, then arm it again"
                if before.state is State.ARMED
                else f"wait until it is installed, or `provisioner machine release {before.name}` first"
            )
            raise IllegalTransition(
                f"machine {before.name} is {before.state}, and its install names {what} {was}, not {wanted}", remedy
            )


def refuse_unknown(fields: Fields, known: tuple[str, ...]) -> None:
    for field in fields:
        if field not in known:
            raise InvalidValue("field", field, "is not known", f"known fields: {', '.join(known)}")


def seated(addresses: tuple[Address, ...], macs: tuple[Mac, ...]) -> tuple[Address, ...]:
    """A place's addresses for the cards of a board, by position; the boot NIC's belongs to no card."""
    # A first address that was tied to a card was a further card's: the boot NIC had none.
    offset = 1 if addresses and addresses[0].mac is not None else 0
    return tuple(
        replace(address, mac=macs[position] if 0 < position < len(macs) else None)
        for position, address in enumerate(addresses, start=offset)
    )


def slot_with(slot: Slot, fields: Fields, rules: Rules) -> Slot:
    """The slot with the named fields set; each value is read and checked. ``ip`` is left to the caller."""
    changes: dict[str, Any] = {}
    readers: dict[str, Callable[[Any], object]] = {
        "name": read.host_name,
        "unit": lambda v: read.whole(v, "unit"),
        "blade": lambda v: read.whole(v, "blade"),
        "params": read.params,
        "options": lambda v: read.options(v, slot.options),
        "switch_port": read.switch_port,
        "menu": lambda v: read.menu(v, rules.roles),
    }
    for field in SLOT_FIELDS:
        if field in fields and field != "ip":
            value = fields[field]
            reader = readers.get(field)
            changes[field] = reader(value) if reader else read.plain(value or "", field)
    role = changes.get("role")
    if role and rules.roles is not None and role not in rules.roles:
        meant = get_close_matches(role, rules.roles, 1)
        known = f"roles: {', '.join(sorted(rules.roles)) or 'none'}"
        raise InvalidValue("role", role, "does not exist", f"did you mean {meant[0]}? {known}" if meant else known)
    return replace(slot, **changes)


def machine_with(machine: Machine, fields: Fields, rules: Rules) -> Machine:
    """The machine with the named fields set; each value is read and checked on the way."""
    changes: dict[str, Any] = {"slot": slot_with(machine.slot, fields, rules)}
    for field in ("vendor", "model", "serial"):
        if field in fields:
            changes[field] = read.plain(fields[field] or "", field)
    if "labels" in fields:
        changes["labels"] = read.labels(fields["labels"])
    if "bmc" in fields:
        changes["bmc_id"] = rules.bmcs.at(fields["bmc"])
    macs = machine.macs
    if "mac" in fields:
        macs = read.macs(fields["mac"])
        if not macs:
            raise InvalidValue("mac", fields["mac"], "is empty", "a machine needs at least one MAC")
        changes |= _cards(machine, macs)
    if "ip" in fields:
        ips = read.addresses(fields["ip"])
        if len(ips) > len(macs):
            said = f"names {len(ips)} addresses for {len(macs)} MACs"
            raise InvalidValue("ip", ";".join(map(str, ips)), said, "one address a NIC")
        changes["addresses"] = addresses_at(machine.addresses, ips, macs, rules)
    return replace(machine, **changes)


def addresses_at(
    before: tuple[Address, ...], ips: tuple[IPAddress | None, ...], macs: tuple[Mac, ...], rules: Rules
) -> tuple[Address, ...]:
    """These IPs for these cards, by position. Raises InvalidValue for what no host of a subnet can hold.

    What was held before is not judged anew: an edit of something else is not the place for it.
    """
    kept = {address.ip: address.id for address in before}
    made = []
    for position, ip in enumerate(ips):
        if ip is None:
            continue
        if ip not in kept:
            read.usable(ip, rules.inventory, rules.ours)
        # The boot NIC's address belongs to the slot, not to a card: a new board keeps it.
        mac = macs[position] if 0 < position < len(macs) else None
        made.append(Address(kept.get(ip) or uuid4(), ip, mac))
    return tuple(made)


def _cards(machine: Machine, macs: tuple[Mac, ...]) -> dict[str, Any]:
    """What changes with the cards: further cards' addresses go on to those in their positions."""
    by_mac = {interface.mac: interface for interface in machine.interfaces}
    successor = dict(zip(machine.macs, macs, strict=False))
    changes: dict[str, Any] = {
        "interfaces": tuple(
            replace(by_mac.get(mac) or Interface(uuid4(), mac), boot=position == 0)
            for position, mac in enumerate(macs)
        ),
        "addresses": tuple(
            address
            if address.mac is None or address.mac in macs
            else replace(address, mac=successor.get(address.mac))
            for address in machine.addresses
        ),
    }
    if machine.macs and not by_mac.keys() & set(macs):
        # None of its cards is left: another board, whose identity is still to be seen.
        changes |= {"uuid": None, "firmware": ""}
    return changes


def _agreeing(place: Place, fields: dict[str, Any], rules: Rules) -> dict[str, Any]:
    """The fields of a machine that comes into this place: what it leaves open, the place says.

    Raises InvalidValue where both say something, and not the same.
    """
    stated = slot_with(place.slot, fields, rules)
    for field in SLOT_FIELDS:
        if field not in fields:
            continue
        if fields[field] in (None, "", [], {}, ()):
            del fields[field]
            continue
        if field == "ip":
            said = [ip for ip in read.addresses(fields["ip"]) if ip]
            has = [address.ip for address in place.addresses]
            differ = bool(has) and said != has
            shown = ";".join(map(str, has))
        else:
            before = getattr(place.slot, field)
            differ = before not in (None, "", {}) and getattr(stated, field) != before
            shown = str(before)
        if differ:
            raise InvalidValue(
                field,
                fields[field],
                f"contradicts the empty slot {place.name}, which says {shown!r}",
                f"leave it out, or change the slot first with `provisioner slot set {place.name}`",
            )
        if field == "ip" and has:
            del fields[field]
    return fields
