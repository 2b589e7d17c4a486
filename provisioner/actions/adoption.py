"""Machines that told of themselves (by BMC or DHCP), found again in the list that names them."""

from collections.abc import Mapping
from itertools import chain, count
from uuid import UUID

from provisioner.actions import fields as read
from provisioner.actions.intent import Fields, Rules
from provisioner.domain.errors import InvalidValue
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine
from provisioner.domain.ports import Transaction


def own_name(mac: Mac) -> str:
    """What a machine is called until somebody names it."""
    return f"server-{mac.hex()}"


def free_name(tx: Transaction, mac: Mac) -> str:
    """The same, numbered where another machine has that name: it had the card first."""
    own = own_name(mac)
    numbered = (f"{own}-{number}" for number in count(2))
    return next(name for name in chain((own,), numbered) if tx.slots.find(name) is None)


def nameless(machine: Machine) -> bool:
    if not machine.slot.implicit:
        return False
    owns = [own_name(mac) for mac in machine.macs]
    return any(machine.name == own or machine.name.startswith(f"{own}-") for own in owns)


class Nameless:
    """The machines of an inventory that nobody has named."""

    def __init__(self, inventory: Inventory, rules: Rules) -> None:
        self._inventory = inventory
        self._rules = rules
        self._behind: Mapping[UUID, Machine] = {
            machine.bmc_id: machine
            for machine in inventory.machines.values()
            if machine.bmc_id is not None and nameless(machine)
        }

    def listed(self, fields: Fields) -> tuple[Machine, Fields] | None:
        """The machine that a row with a new name is about, and the row with the MACs that it has besides.

        It has one of the row's MACs. None: a machine that is not known, or a row for a slot that is listed by
        itself. Raises InvalidValue when BMC and MACs of the row are not those of one machine.
        """
        macs = read.macs(fields.get("mac") or fields.get("macs"))
        bmc = self._rules.bmcs.at(fields["bmc"]) if fields.get("bmc") else None
        found = {m.id: m for mac in macs if (m := self._inventory.by_mac(mac)) and nameless(m)}
        behind = self._behind.get(bmc) if bmc else None
        if behind is not None and behind.id not in found:
            told = ", ".join(map(str, behind.macs))
            raise InvalidValue(
                "mac",
                ";".join(map(str, macs)),
                f"is not what BMC {fields['bmc']} tells: {told}",
                "`provisioner bmc reconcile FILE` compares the whole list and proposes fixes",
            )
        if len(found) != 1 or self._rules.empty(str(fields.get("name", ""))) is not None:
            return None
        (machine,) = found.values()
        if bmc and machine.bmc_id not in (None, bmc):
            raise InvalidValue(
                "bmc",
                fields["bmc"],
                f"is not the one that told of MAC {', '.join(map(str, machine.macs))}",
                "`provisioner bmc reconcile FILE` compares the whole list and proposes fixes",
            )
        rest = [mac for mac in machine.macs if mac not in macs]
        without = {key: value for key, value in fields.items() if key != "macs"}
        return machine, {**without, "mac": ";".join(map(str, (*macs, *rest)))}
