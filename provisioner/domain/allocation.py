"""Which machine gets which address and name, and why. Pure: the same inventory and rule give the same plan.

An address comes from one of three rules: the next free one in slot order; an offset from the BMC's address; an
expression over the BMC's octets and the slot. A machine that cannot have what the rule gives is a row with a
conflict, not a gap: the plan shows all of them at once, and a plan with conflicts cannot be applied.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from uuid import UUID

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.expression import AddressExpression, NoValue
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.domain.machine import IPAddress, Machine, State
from provisioner.domain.naming import NamePattern, NoName
from provisioner.domain.subnet import AddressRange, Subnet

_SETTLED = (State.ARMED, State.INSTALLING)
"""What these machines were told names their name and address: they cannot move under them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Addresses of ``prefix`` for machines that have none; optionally names and a role."""

    prefix: IPv4Network
    first: IPv4Address | None = None
    """Sequential: where to start. With ``bmc_base``: what belongs to it. Default: the prefix's first."""
    exclude: tuple[AddressRange, ...] = ()
    name: str = ""
    """Pattern like ``core-{rack}-{index:02}``; empty keeps names."""
    role: str = ""
    """Given to machines without a role."""
    bmc_base: IPv4Address | None = None
    """Offset rule: the machine whose BMC is ``bmc_base`` + n gets ``first`` + n."""
    expression: AddressExpression | None = None
    renumber: bool = False
    """Machines that have an address get the rule's all the same."""
    rack: str = ""
    """Only machines of this rack; empty: all."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One row of a plan."""

    machine_id: str
    machine: str
    """Name before."""
    name: str
    mac: str
    ip: str
    """Empty: none could be given."""
    role: str
    why: str
    changed: bool
    was: str = ""
    """Address before."""
    conflict: str = ""
    """Why this row cannot be applied."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows and the state they were computed from. ``digest`` seals both."""

    rows: tuple[Assignment, ...]
    basis: str
    """Hash of the inventory that the plan was made from."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def conflicts(self) -> tuple[Assignment, ...]:
        return tuple(row for row in self.rows if row.conflict)

    def as_dict(self) -> dict[str, object]:
        """Plain data for files and the API."""
        return {
            "basis": self.basis,
            "rows": [asdict(row) for row in self.rows],
        }


Bmcs = Mapping[UUID, str]
"""Addresses of BMCs by id."""


def plan(
    inventory: Inventory, rule: Rule, bmcs: Bmcs = MappingProxyType({}), ours: Collection[IPAddress] = ()
) -> Plan:
    """Assign. ``ours``: the appliance's addresses.

    Raises InvalidValue for a rule that makes no sense, Refused for an unknown subnet.
    """
    subnet = next((s for s in inventory.subnets if s.prefix == rule.prefix), None)
    if subnet is None:
        raise Refused(f"no subnet {rule.prefix}", f"`provisioner subnet add {rule.prefix} --gateway …` first")
    if rule.expression is not None and rule.bmc_base is not None:
        raise InvalidValue(
            "expression", rule.expression.text, "is one rule, bmc_base another", "give only one of them"
        )
    if rule.first is not None and rule.first not in rule.prefix:
        raise InvalidValue("first", rule.first, f"is not in {rule.prefix}", "give an address of that subnet")
    chooser = _Chooser(inventory, rule, subnet, bmcs, ours)
    pattern = NamePattern(rule.name) if rule.name else None
    machines = [m for m in inventory.machines.values() if m.state is not State.RETIRED]
    machines = sorted((m for m in machines if rule.rack in ("", m.slot.rack)), key=slot_order)
    rows = [_assign(machine, place, rule, chooser, pattern) for place, machine in enumerate(machines, start=1)]
    return Plan(tuple(_contradictions(rows, inventory)), basis(inventory, bmcs))


def parse_plan(data: object) -> Plan:
    """Read back what ``as_dict`` wrote. Raises InvalidValue."""
    try:
        content = dict(data)  # type: ignore[call-overload]
        return Plan(tuple(Assignment(**row) for row in content["rows"]), str(content["basis"]))
    except (TypeError, ValueError, KeyError):
        raise InvalidValue(
            "plan",
            type(data).__name__,
            "is not an allocation plan",
            "make one with `provisioner allocate plan --json`",
        ) from None


def basis(inventory: Inventory, bmcs: Bmcs = MappingProxyType({})) -> str:
    """Hash of all that a plan depends on: who is there, with which name, MACs, addresses, place and BMC; what
    empty slots keep."""
    facts = sorted(
        (
            str(m.id),
            m.version,
            m.state in _SETTLED,
            *map(str, slot_order(m)),
            *map(str, m.macs),
            *(str(a.ip) for a in m.addresses),
            bmcs.get(m.bmc_id, "") if m.bmc_id else "",
        )
        for m in inventory.machines.values()
    )
    subnets = [str(subnet) for subnet in inventory.subnets]
    kept = sorted((place.name, *(str(a.ip) for a in place.addresses)) for place in inventory.places.values())
    return hashlib.sha256(json.dumps([facts, subnets, kept]).encode()).hexdigest()


class _Impossible(Exception):
    """The rule gives this machine nothing; ``str()`` says why."""


class _Chooser:
    """What the rule gives each machine. Sequential rules remember how far they are."""

    def __init__(
        self, inventory: Inventory, rule: Rule, subnet: Subnet, bmcs: Bmcs, ours: Collection[IPAddress]
    ) -> None:
        self._inventory = inventory
        self._rule = rule
        self._subnet = subnet
        self._bmcs = bmcs
        self._own = {ip for ip in (subnet.gateway, *subnet.dns, *subnet.ntp, *ours) if ip}
        self._free = self._sequence()

    @property
    def computes(self) -> bool:
        """Does the rule give a certain machine a certain address, whoever else is there?"""
        return self._rule.expression is not None or self._rule.bmc_base is not None

    def choose(self, machine: Machine, place: int) -> tuple[IPv4Address, str]:
        """Address and reason. Raises _Impossible."""
        if not self.computes:
            if (free := next(self._free, None)) is None:
                raise _Impossible(
                    f"subnet {self._rule.prefix} has no address left; widen it or start at a lower address"
                )
            return free, f"next free address in slot order, place {place}"
        ip, why = self._computed(machine, place)
        if unfit := self._unfit(ip):
            raise _Impossible(f"{why}, but {ip} {unfit}")
        return ip, why

    def _computed(self, machine: Machine, place: int) -> tuple[IPv4Address, str]:
        bmc = self._bmcs.get(machine.bmc_id) if machine.bmc_id else None
        at = IPv4Address(bmc) if bmc and ":" not in bmc else None
        if self._rule.expression is not None:
            values = {"index": place}
            values |= {name: n for name in ("unit", "blade") if (n := getattr(machine.slot, name)) is not None}
            values |= {f"b{n}": octet for n, octet in enumerate(at.packed, start=1)} if at else {}
            try:
                ip = self._rule.expression.address(values)
            except NoValue as lack:
                raise _Impossible(f"{self._rule.expression.text}: {machine.name} {lack}") from None
            used = ", ".join(f"{name}={values[name]}" for name in sorted(self._rule.expression.names))
            return ip, f"{self._rule.expression.text} with {used or 'no names'}"
        assert self._rule.bmc_base is not None  # noqa: S101 - the only other rule that computes
        if at is None:
            raise _Impossible(f"{machine.name} has no BMC with an IPv4 address to count from")
        offset = int(at) - int(self._rule.bmc_base)
        first = self._rule.first or self._rule.prefix.network_address
        if not 0 <= int(first) + offset < 2**32:
            raise _Impossible(f"BMC {at} is {offset:+} from {self._rule.bmc_base}, which leads nowhere")
        return first + offset, f"BMC {at} is {offset:+} from {self._rule.bmc_base}, so {first}{offset:+}"

    def _unfit(self, ip: IPv4Address) -> str:
        """Why no machine may have it, the ones that have it now apart."""
        prefix = self._rule.prefix
        if ip not in prefix:
            return f"is not in {prefix}"
        if prefix.prefixlen < 31 and ip in (prefix.network_address, prefix.broadcast_address):
            return f"is the network or broadcast address of {prefix}"
        if ip in self._own:
            return f"belongs to the gateway, DNS or NTP server of {prefix}, or to the appliance"
        if any(ip in excluded for excluded in self._rule.exclude):
            return "is excluded"
        if any(ip in pool for pool in self._subnet.pools):
            return f"lies in a dynamic pool of {prefix}"
        return ""

    def _sequence(self) -> Iterator[IPv4Address]:
        prefix = self._rule.prefix
        inside = prefix.prefixlen < 31
        number = max(int(self._rule.first or 0), int(prefix.network_address) + inside)
        last = int(prefix.broadcast_address) - inside
        # Whole ranges are stepped over: an excluded /9 must not cost eight million looks.
        ranges = [(int(r.first), int(r.last)) for r in (*self._rule.exclude, *self._subnet.pools)]
        while number <= last:
            if beyond := [end for start, end in ranges if start <= number <= end]:
                number = max(beyond) + 1
                continue
            ip = IPv4Address(number)
            if ip not in self._own and not self._taken(ip):
                yield ip
            number += 1

    def _taken(self, ip: IPv4Address) -> bool:
        if ip in self._inventory.held:
            return True
        holder = self._inventory.by_ip(ip)
        return holder is not None and not (self._rule.renumber and _movable(holder))


def _movable(machine: Machine) -> bool:
    return machine.state not in (*_SETTLED, State.RETIRED)


def _assign(machine: Machine, place: int, rule: Rule, chooser: _Chooser, pattern: NamePattern | None) -> Assignment:
    # The boot NIC's address: further NICs keep theirs.
    has = machine.ip
    ip, why, conflict = _address(machine, has, place, rule, chooser)
    name = machine.name
    if pattern is not None:
        try:
            name = pattern.name(machine)
        except NoName as lack:
            conflict = conflict or str(lack)
    if name != machine.name and machine.state in _SETTLED:
        conflict = conflict or f"is {machine.state}: its install names it {machine.name}; disarm it first"
    role = machine.slot.role or rule.role
    return Assignment(
        machine_id=str(machine.id),
        machine=machine.name,
        name=name,
        mac=str(machine.boot_mac or ""),
        ip=str(ip or ""),
        role=role,
        why=why,
        changed=ip != has or name != machine.name or role != machine.slot.role,
        was=str(has or ""),
        conflict=conflict,
    )


def _address(
    machine: Machine, has: IPAddress | None, place: int, rule: Rule, chooser: _Chooser
) -> tuple[IPAddress | None, str, str]:
    """Address, reason, conflict."""
    keeps = has is not None and not (rule.renumber and _movable(machine))
    if keeps and (not chooser.computes or has not in rule.prefix):
        return has, f"keeps {has}" + ("" if has in rule.prefix else f", outside {rule.prefix}"), ""
    try:
        ip, why = chooser.choose(machine, place)
    except _Impossible as impossible:
        return (has, f"keeps {has}; the rule gives it none", "") if keeps else (has, "", str(impossible))
    if not keeps or ip == has:
        return ip, why, ""
    if rule.renumber:
        return has, f"keeps {has}; {why}", f"is {machine.state}: its install names {has}; disarm it first"
    return has, f"keeps {has}; the rule gives {ip} (renumber it if that is wanted)", ""


def _contradictions(rows: Sequence[Assignment], inventory: Inventory) -> Iterator[Assignment]:
    """The rows, those marked as conflicts whose address or name somebody else has afterwards."""
    ips: dict[str, list[str]] = {}
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.name, []).append(row.machine)
        if row.ip:
            ips.setdefault(row.ip, []).append(row.machine)
    given_up = {(row.machine_id, row.was) for row in rows}
    for machine in inventory.machines.values():
        if machine.state is State.RETIRED:
            names.setdefault(machine.name, []).append(machine.name)
        for address in machine.addresses:
            if (str(machine.id), str(address.ip)) not in given_up:
                ips.setdefault(str(address.ip), []).append(machine.name)
    for place in inventory.places.values():
        names.setdefault(place.name, []).append(f"the empty slot {place.name}")
        for address in place.addresses:
            ips.setdefault(str(address.ip), []).append(f"the empty slot {place.name}")
    for row in rows:
        said = [row.conflict] if row.conflict else []
        for value, holders in ((row.ip, ips.get(row.ip, ())), (row.name, names[row.name])):
            if len(holders) > 1:
                others = [name for name in holders if name != row.machine]
                said.append(f"{value} also goes to {', '.join(others[:3]) or 'another NIC of it'}")
        yield replace(row, conflict="; ".join(said)) if said else row
