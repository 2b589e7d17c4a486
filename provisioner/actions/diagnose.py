"""Why is this machine not moving? What is expected, what came instead, and what to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from provisioner.actions import reconcile
from provisioner.domain import outlook
from provisioner.domain.boot import BootPlan, plan_boot
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.events import Event
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import IPAddress, Machine, State
from provisioner.domain.outlook import Expected, Surroundings
from provisioner.domain.ports import Store

_TOLD = 8


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``obstacles``: sentences with their remedies, about what would stop it whatever its state."""

    machine: Machine
    plan: BootPlan
    """What a netboot would get now."""
    expected: Expected
    obstacles: tuple[str, ...]
    events: Sequence[Event]
    """Newest first."""


def diagnose(
    store: Store,
    inventory: Inventory,
    ref: str,
    *,
    wires: Sequence[IPAddress],
    compiles: Callable[[Machine], str],
    now: int,
) -> Diagnosis:
    """``wires``: our addresses. ``compiles``: why the machine could not be armed, or ''. Raises NotFound."""
    machine = inventory.find(ref)
    if machine is None:
        raise NotFound("machine", ref, _unlisted(store, inventory))
    subnet = inventory.subnet_of(machine.ip) if machine.ip else None
    ours = next((str(ip) for ip in wires if subnet and ip in subnet.prefix), "the appliance")
    around = Surroundings(subnet, appliance=ours)
    with store.reading() as tx:
        events = tx.events.list(machine_id=machine.id, limit=_TOLD)
        contradicted = [
            f"it contradicts the vendor's list: {reconcile.spoken(finding)}: {reconcile.remedy(finding)}"
            for finding in tx.contradictions.of(machine.id)
        ]
        if machine.state is State.ARMED:
            unlisted = (s for s in tx.sightings() if s.source == "dhcp" and inventory.by_mac(s.mac) is None)
            around = replace(around, stranger=max(unlisted, key=lambda sighting: sighting.at, default=None))
    return Diagnosis(
        machine,
        plan_boot(machine, subnet, now),
        outlook.expected(machine, around, now),
        (*contradicted, *_obstacles(machine, inventory, compiles)),
        events,
    )


def _obstacles(machine: Machine, inventory: Inventory, compiles: Callable[[Machine], str]) -> list[str]:
    found = []
    name = machine.name
    if not machine.macs:
        found.append(f"no MAC is listed for it: `provisioner machine set {name} --mac MAC`")
    if machine.ip is None and machine.macs:
        found.append(f"no address is listed for it: `provisioner machine set {name} --ip ADDRESS`")
    elif machine.ip is not None and inventory.subnet_of(machine.ip) is None:
        found.append(f"its address {machine.ip} is in no listed subnet: `provisioner subnet add PREFIX`")
    if not machine.slot.role:
        found.append(f"it has no role: `provisioner machine set {name} --role ROLE`")
    elif machine.install is None or not machine.install.open:
        why = compiles(machine)
        if why:
            found.append(f"it could not be armed: {why}")
    return found


def _unlisted(store: Store, inventory: Inventory) -> str:
    try:
        with store.reading() as tx:
            seen = [s for s in tx.sightings(20) if inventory.by_mac(s.mac) is None]
    except Refused:
        seen = []
    if not seen:
        return "`provisioner machine list` shows what there is"
    newest = max(seen, key=lambda sighting: sighting.at)
    return f"`provisioner machine list` shows what there is; the newest MAC that is in no list is {newest.mac}"
