"""Which machine gets which address and name, and why. Pure: the same inventory gives the same plan.

First form: addresses in slot order from the first one on, skipping what is taken; names from a pattern.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.domain.machine import IPAddress, Machine, State

_PATTERN = re.compile(r"[a-z0-9-]*\{index(?::0?[1-9])?\}[a-z0-9-]*\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """Addresses of ``prefix`` from ``first`` on, for machines that have none; optionally names and a role."""

    prefix: IPv4Network
    first: IPv4Address | None = None
    exclude: tuple[IPv4Address, ...] = ()
    name: str = ""
    """Pattern like ``node-{index:02}``; empty keeps names."""
    role: str = ""
    """Given to machines without a role."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One row of a plan."""

    machine_id: str
    machine: str
    """Name before."""
    name: str
    mac: str
    ip: str
    role: str
    why: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows and the state they were computed from. ``digest`` seals both."""

    rows: tuple[Assignment, ...]
    basis: str
    """Hash of the inventory that the plan was made from."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, object]:
        """Plain data for files and the API."""
        return {
            "basis": self.basis,
            "rows": [asdict(row) for row in self.rows],
        }


def plan(inventory: Inventory, rule: Rule) -> Plan:
    """Assign. Machines that have an address keep it. Raises Refused when the prefix has no room."""
    if rule.name and not _PATTERN.match(rule.name):
        raise InvalidValue("name pattern", rule.name, "is not understood", "write it like node-{index:02}")
    subnet = next((s for s in inventory.subnets if s.prefix == rule.prefix), None)
    if subnet is None:
        raise Refused(f"no subnet {rule.prefix}", f"`provisioner subnet add {rule.prefix} --gateway …` first")
    reserved: set[IPAddress] = {*inventory.ips, *rule.exclude}
    reserved.update(ip for ip in (subnet.gateway, *subnet.dns, *subnet.ntp) if ip)
    free = (ip for ip in _from(rule) if ip not in reserved and not any(ip in pool for pool in subnet.pools))
    machines = [m for m in sorted(inventory.machines.values(), key=slot_order) if m.state is not State.RETIRED]
    rows = []
    for index, machine in enumerate(machines, start=1):
        rows.append(_assign(machine, index, rule, free))
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            raise InvalidValue("name pattern", rule.name, f"gives {row.name} twice", "put {index} in it")
    return Plan(tuple(rows), basis(inventory))


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


def basis(inventory: Inventory) -> str:
    """Hash of all that a plan depends on: who is there, with which name, MACs, addresses and place."""
    facts = sorted(
        (str(m.id), m.version, *map(str, slot_order(m)), *map(str, m.macs), *(str(a.ip) for a in m.addresses))
        for m in inventory.machines.values()
    )
    subnets = [str(subnet) for subnet in inventory.subnets]
    return hashlib.sha256(json.dumps([facts, subnets]).encode()).hexdigest()


def _from(rule: Rule) -> Iterator[IPv4Address]:
    first = rule.first or rule.prefix.network_address + 1
    if first not in rule.prefix:
        raise InvalidValue("first", first, f"is not in {rule.prefix}", "give an address of that subnet")
    last = int(rule.prefix.broadcast_address) - (1 if rule.prefix.prefixlen < 31 else 0)
    return (IPv4Address(number) for number in range(int(first), last + 1))


def _assign(machine: Machine, index: int, rule: Rule, free: Iterator[IPv4Address]) -> Assignment:
    has = next((a.ip for a in machine.addresses if a.ip in rule.prefix), None)
    ip: IPAddress | None = has or next(free, None)
    if ip is None:
        raise Refused(
            f"subnet {rule.prefix} has no address left for {machine.name}", "widen it or start at a lower address"
        )
    name = rule.name.format(index=index) if rule.name else machine.name
    role = machine.slot.role or rule.role
    why = f"keeps {ip}" if has else f"next free address in slot order, place {index}"
    return Assignment(
        machine_id=str(machine.id),
        machine=machine.name,
        name=name,
        mac=str(machine.boot_mac or ""),
        ip=str(ip),
        role=role,
        why=why,
        changed=has is None or name != machine.name or role != machine.slot.role,
    )


def renames(rows: Sequence[Assignment]) -> bool:
    """Does any row take a name that another row gives up?"""
    before = {row.machine for row in rows if row.name != row.machine}
    return any(row.name in before for row in rows if row.name != row.machine)
