"""Make an allocation plan, and carry out exactly the one that was looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from provisioner.actions import fields as read
from provisioner.actions.enrol import happened
from provisioner.actions.intent import Rules, machine_with, refuse_told, rules_over
from provisioner.actions.inventory_file import ImportRefused, Row
from provisioner.domain import allocation, expression
from provisioner.domain.allocation import Assignment, Plan, Rule
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.lifecycle import settled
from provisioner.domain.machine import Address, Interface, Machine, Slot
from provisioner.domain.ports import Store, Transaction
from provisioner.domain.subnet import AddressRange, Subnet

RULES = ("prefix", "first", "exclude", "name", "role", "bmc_base", "expression", "renumber", "rack")
"""The fields of a rule as operators type them."""


def read_rule(fields: Mapping[str, Any]) -> Rule:
    """A rule from text. ``exclude`` is a list, or addresses, ranges ``A-B`` and networks by commas.

    Raises InvalidValue.
    """
    prefix = read.prefix(fields.get("prefix", ""))
    if not isinstance(prefix, IPv4Network):
        raise InvalidValue("prefix", prefix, "is IPv6", "allocation gives IPv4 addresses")
    exclude = fields.get("exclude") or ()
    excluded = exclude.split(",") if isinstance(exclude, str) else exclude
    return Rule(
        prefix=prefix,
        first=_ipv4(fields.get("first"), "first"),
        exclude=tuple(_range(text.strip()) for text in excluded if text.strip()),
        name=str(fields.get("name") or ""),
        role=str(fields.get("role") or ""),
        bmc_base=_ipv4(fields.get("bmc_base"), "bmc_base"),
        expression=expression.parse(fields["expression"]) if fields.get("expression") else None,
        renumber=bool(fields.get("renumber")),
        rack=read.plain(fields.get("rack") or "", "rack"),
    )


def plan(store: Store, rule: Rule) -> Plan:
    """Assign addresses and names to the inventory; changes nothing. Raises InvalidValue, Refused."""
    with store.reading() as tx:
        inventory, bmcs = _facts_in(tx)
        return allocation.plan(inventory, rule, bmcs, tx.ours)


def plan_file(store: Store, rule: Rule, rows: Sequence[Row]) -> Plan:
    """Assign to the machines of a file, none of which is stored; what such a plan gives is printed, not applied.

    The subnet's gateway and pools are heeded if it is listed. Raises ImportRefused, InvalidValue, Refused.
    """
    with store.reading() as tx:
        subnets, ours = tx.subnets.list(), tx.ours
    if all(subnet.prefix != rule.prefix for subnet in subnets):
        subnets = [*subnets, Subnet(uuid4(), rule.prefix)]
    machines, bmcs = _stated_in(rows)
    made = allocation.plan(Inventory.build(machines, subnets), rule, bmcs, ours)
    return replace(made, basis="file")


def apply(
    store: Store, wanted: Plan, *, actor: str, now: int, roles: frozenset[str] | None = None
) -> list[Machine]:
    """Write the plan in one transaction. Refused if it has conflicts, or the inventory moved since it was made."""
    if wanted.basis == "file":
        raise Refused(
            "this plan was made from a file", "`provisioner machine import` the file, then plan without --from"
        )
    if wanted.conflicts:
        first = wanted.conflicts[0]
        raise Refused(
            f"the plan has {len(wanted.conflicts)} conflict(s), the first: {first.machine}: {first.conflict}",
            "change the rule or the machine, and make a new plan",
        )
    with store.transaction(actor) as tx:
        inventory, bmcs = _facts_in(tx)
        if allocation.basis(inventory, bmcs) != wanted.basis:
            raise Refused("the inventory changed since this plan was made", "make a new plan and look at it again")
        rules = rules_over(tx, inventory, roles)
        pairs = []
        for row in wanted.rows:
            if row.changed:
                before = _row_machine(inventory, row)
                pairs.append((before, settled(_assigned(row, before, rules), now)))
        pairs = [(before, after) for before, after in pairs if before != after]
        stored = tx.machines.put_many([after for _, after in pairs], inventory.machines)
        tx.events.add(
            *(
                event
                for (before, _), after in zip(pairs, stored, strict=True)
                for event in happened(before, after, now, actor)
            )
        )
        return list(stored)


def _facts_in(tx: Transaction) -> tuple[Inventory, dict[UUID, str]]:
    return tx.inventory(), {bmc.id: bmc.address for bmc in tx.bmcs.list()}


def _row_machine(inventory: Inventory, row: Assignment) -> Machine:
    machine = inventory.find(row.machine_id)
    if machine is None or str(machine.id) != row.machine_id:
        raise InvalidValue("plan", row.machine_id, "is no machine of the inventory", "make a new plan")
    return machine


def _assigned(row: Assignment, machine: Machine, rules: Rules) -> Machine:
    """The machine as the row wants it; a plan is a file, so its values are read like any other's."""
    named = machine_with(machine, {"name": row.name, "role": row.role}, rules)
    ip = read.address(row.ip)
    read.usable(ip, rules.inventory, rules.ours)
    kept = tuple(a for a in machine.addresses if str(a.ip) not in (row.was, row.ip))
    before = next((a for a in machine.addresses if str(a.ip) == row.was), None)
    after = replace(named, addresses=(Address(before.id if before else uuid4(), ip), *kept))
    refuse_told(machine, after)
    return after


def _stated_in(rows: Sequence[Row]) -> tuple[list[Machine], dict[UUID, str]]:
    machines: list[Machine] = []
    bmcs: dict[UUID, str] = {}
    errors: list[tuple[int, str]] = []
    for line, fields in rows:
        try:
            machine, bmc = _stated(fields)
        except Refused as refusal:
            errors.append((line, str(refusal)))
            continue
        if machine.bmc_id:
            bmcs[machine.bmc_id] = bmc
        machines.append(machine)
    if errors:
        raise ImportRefused(errors)
    return machines, bmcs


def _stated(fields: Mapping[str, Any]) -> tuple[Machine, str]:
    slot = Slot(
        uuid4(),
        read.host_name(fields.get("name", "")),
        rack=read.plain(fields.get("rack", ""), "rack"),
        chassis=read.plain(fields.get("chassis", ""), "chassis"),
        unit=read.whole(fields.get("unit"), "unit"),
        blade=read.whole(fields.get("blade"), "blade"),
        role=read.plain(fields.get("role", ""), "role"),
    )
    macs = read.macs(fields.get("mac") or fields.get("macs"))
    ips = read.addresses(fields.get("ip"))
    bmc = str(read.address(fields["bmc"], "bmc")) if fields.get("bmc") else ""
    return Machine(
        # The same file gives the same plan.
        id=uuid5(NAMESPACE_URL, f"provisioner:machine:{slot.name}"),
        slot=slot,
        interfaces=tuple(Interface(uuid4(), mac, boot=position == 0) for position, mac in enumerate(macs)),
        addresses=tuple(
            Address(uuid4(), ip, macs[position] if 0 < position < len(macs) else None)
            for position, ip in enumerate(ips)
            if ip
        ),
        bmc_id=uuid5(NAMESPACE_URL, f"provisioner:bmc:{bmc}") if bmc else None,
    ), bmc


def _range(text: str) -> AddressRange:
    """``A``, ``A-B`` or a network."""
    if "/" in text:
        network = read.prefix(text, "exclude")
        return AddressRange(network.network_address, network.broadcast_address)
    first, dash, last = text.partition("-")
    low = _ipv4(first, "exclude")
    high = _ipv4(last, "exclude") if dash else low
    if low is None or high is None or high < low:
        raise InvalidValue("exclude", text, "is not a range", "write it like 10.12.1.10-10.12.1.19")
    return AddressRange(low, high)


def _ipv4(value: object, field: str) -> IPv4Address | None:
    if value is None or str(value).strip() == "":
        return None
    ip = read.address(value, field)
    if not isinstance(ip, IPv4Address):
        raise InvalidValue(field, value, "is IPv6", "allocation gives IPv4 addresses")
    return ip
