"""What a BMC tells, merged into the inventory: it adds, it never overwrites what an operator set."""

from dataclasses import replace
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.actions.adoption import free_name
from provisioner.actions.enrol import describe, differences, record_state
from provisioner.domain.bmc import Blade, Bmc, Chassis, Identity
from provisioner.domain.errors import Conflict, Refused
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.lifecycle import settled
from provisioner.domain.machine import Interface, Machine, Slot
from provisioner.domain.ports import Transaction


def merge(tx: Transaction, bmc: Bmc, identity: Identity, now: int) -> tuple[Machine | None, str]:
    """The machine behind this BMC, made if it is new; and the sentence for the timeline.

    A BMC without readable MACs makes no machine: there would be nothing to answer on the wire. Raises Conflict for
    MACs of a machine that is behind another BMC.
    """
    bmc = _learned(tx, bmc, identity.certificate, identity.protocol, identity.port)
    notes = f" ({'; '.join(identity.notes)})" if identity.notes else ""
    known = [found for mac in identity.macs if (found := tx.machines.find(str(mac)))]
    before = tx.machines.behind(bmc.id) or next(iter(known), None)
    strangers = [m for m in known if before is not None and m.id != before.id]
    if strangers:
        raise Conflict(
            "mac",
            ", ".join(str(mac) for mac in identity.macs if mac in strangers[0].macs),
            f"machine {strangers[0].name}",
            f"BMC {bmc.address} claims it for {before.name if before else 'another'}; "
            "look which board is behind which BMC",
        )
    if before is not None and before.bmc_id not in (None, bmc.id):
        listed = tx.bmcs.get(str(before.bmc_id)).address
        raise Conflict(
            "mac",
            ", ".join(str(mac) for mac in identity.macs if mac in before.macs),
            f"machine {before.name}, whose BMC is {listed}",
            f"BMC {bmc.address} tells it, too: power for {before.name} may reach another server; look which is its "
            f"BMC, then `provisioner machine set {before.name} --bmc ADDRESS`",
        )
    tx.see(Sighting(mac, "bmc", now, f"BMC {bmc.address}") for mac in identity.macs)
    if before is None and not identity.macs:
        said = f"BMC {bmc.address} answered but tells no MAC of its server{notes}; add the machine by its MAC"
        tx.events.add(Event(Kind.BMC_ERROR, said, now, actor=tx.actor))
        return None, said
    machine = before or Machine(
        uuid4(), Slot(uuid4(), free_name(tx, identity.macs[0]), chassis=bmc.chassis), state_at=now
    )
    fresh = [mac for mac in identity.macs if mac not in machine.macs]
    after = settled(
        replace(
            machine,
            bmc_id=machine.bmc_id or bmc.id,
            vendor=machine.vendor or identity.vendor,
            model=machine.model or identity.model,
            serial=machine.serial or identity.serial,
            uuid=machine.uuid or identity.uuid,
            interfaces=machine.interfaces
            + tuple(
                Interface(uuid4(), mac, boot=not machine.interfaces and position == 0, source="bmc")
                for position, mac in enumerate(fresh)
            ),
        ),
        now,
    )
    stored = after if before == after else tx.machines.put(after)
    if before is None:
        said = f"BMC {bmc.address} told of a new machine: {describe(stored)}{notes}"
    else:
        said = f"BMC {bmc.address}: {', '.join(differences(before, stored)) or 'nothing new'}{notes}"
    tx.events.add(Event(Kind.BMC_HARVEST, said, now, stored.id, stored.boot_mac, actor=tx.actor))
    if before is not None and before.state is not stored.state:
        record_state(tx, before, stored, now)
    return stored, said


def merge_chassis(tx: Transaction, manager: Bmc, chassis: Chassis, now: int) -> list[str]:
    """All blades of a chassis: their BMCs listed, with the manager's login if they have none, and their machines.

    A contradiction of one blade is a sentence, and leaves the others merged.
    """
    manager = _learned(tx, manager, chassis.certificate)
    name = manager.chassis or f"chassis-{manager.address.replace('.', '-').replace(':', '-')}"
    sentences = []
    for blade in chassis.blades:
        try:
            sentences.append(_merge_blade(tx, manager, name, blade, now))
        except Refused as refusal:
            sentences.append(f"blade {blade.number}: {refusal}")
            tx.events.add(Event(Kind.BMC_ERROR, sentences[-1], now, actor=tx.actor))
    return sentences


def _merge_blade(tx: Transaction, manager: Bmc, chassis: str, blade: Blade, now: int) -> str:
    if not blade.bmc:
        return f"blade {blade.number} has no BMC address; add its machine by its MAC"
    address = str(read.address(blade.bmc, "BMCIP"))
    read.bmc_address(address, "BMCIP")
    bmc = tx.bmcs.find(address) or Bmc(uuid4(), address, credential_id=manager.credential_id)
    if not bmc.chassis:
        # New, or found by a scan before its chassis told of it.
        bmc = tx.bmcs.put(replace(bmc, chassis=chassis))
    machine, said = merge(tx, bmc, Identity(macs=blade.macs, notes=blade.notes), now)
    if machine is not None and machine.slot.blade is None and not machine.slot.unit:
        placed = replace(machine.slot, chassis=machine.slot.chassis or chassis, blade=blade.number)
        tx.machines.put(replace(machine, slot=placed))
    return f"blade {blade.number}: {said}"


def _learned(tx: Transaction, bmc: Bmc, certificate: str, protocol: str = "", port: int = 0) -> Bmc:
    """Pin what was seen first; what is pinned stays."""
    current = tx.bmcs.find(str(bmc.id)) or bmc
    after = replace(
        current,
        certificate=current.certificate or certificate,
        protocol=protocol if current.protocol == "auto" and protocol else current.protocol,
        port=port if current.protocol == "auto" and port else current.port,
    )
    return after if after == current else tx.bmcs.put(after)
