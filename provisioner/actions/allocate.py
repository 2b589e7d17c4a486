"""Carry out exactly the allocation plan that was looked at."""

from dataclasses import replace

from provisioner.actions.enrol import put_machine, rules_in
from provisioner.domain import allocation
from provisioner.domain.allocation import Plan, Rule
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from provisioner.domain.ports import Store


def plan(inventory: Inventory, rule: Rule) -> Plan:
    """Assign addresses and names; changes nothing. Raises InvalidValue, Refused."""
    return allocation.plan(inventory, rule)


def apply(
    store: Store, wanted: Plan, *, actor: str, now: int, roles: frozenset[str] | None = None
) -> list[Machine]:
    """Write the plan in one transaction. Refused if the inventory moved since it was made."""
    with store.transaction(actor) as tx:
        inventory = Inventory.build(tx.machines.list(), tx.subnets.list())
        if allocation.basis(inventory) != wanted.basis:
            raise Refused("the inventory changed since this plan was made", "make a new plan and look at it again")
        rules = rules_in(tx, roles)
        if allocation.renames(wanted.rows):
            # Names move in a circle: step aside first, the unique constraint holds at every moment.
            for row in wanted.rows:
                if row.name != row.machine:
                    machine = tx.machines.get(row.machine_id)
                    parked = replace(machine.slot, name=f"moving-{machine.id.hex[:12]}")
                    tx.machines.put(replace(machine, slot=parked))
        applied = []
        for row in wanted.rows:
            if row.changed:
                machine = tx.machines.get(row.machine_id)
                ips = [row.ip, *(str(a.ip) for a in machine.addresses if a.mac is not None)]
                fields = {"name": row.name, "ip": ips, "role": row.role}
                applied.append(put_machine(tx, machine, fields, now=now, rules=rules))
        return applied
