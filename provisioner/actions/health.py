"""How servers are: power, health and sensors as their BMCs tell, of one or of all."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from provisioner.actions.power import queued
from provisioner.domain.bmc import Bmc, Health, Login, Power
from provisioner.domain.errors import Refused
from provisioner.domain.ports import BmcPort, Store, Transaction
from provisioner.domain.records import Job


def enqueue_condition(store: Store, refs: Iterable[str] | None = None, *, actor: str, now: int) -> Job:
    """Ask BMCs, by address or id or by their machine, how their servers are; default: all that have a server.

    Of one, every reading is in the result; of many, those that are not ok. Raises NotFound, Refused.
    """
    with store.transaction(actor) as tx:
        bmcs = (
            [bmc for bmc in tx.bmcs.list() if bmc.protocol != "cmm"]
            if refs is None
            else [bmc_of(tx, ref) for ref in refs]
        )
        if not bmcs:
            raise Refused("no BMC is listed", "`provisioner bmc add ADDRESS --user U --password-stdin` first")
        ids = list(dict.fromkeys(str(bmc.id) for bmc in bmcs))
        return queued(tx, "condition", {"bmcs": ids, "all": len(ids) == 1}, len(ids), now)


def bmc_of(tx: Transaction, ref: str) -> Bmc:
    """The BMC at an address, or of a machine. Raises NotFound, Refused."""
    found = tx.bmcs.find(ref)
    machine = None if found else tx.machines.find(ref)
    if machine is None:
        return found or tx.bmcs.get(ref)
    if machine.bmc_id is None:
        raise Refused(
            f"machine {machine.name} has no BMC", f"`provisioner machine set {machine.name} --bmc ADDRESS`"
        )
    return tx.bmcs.get(str(machine.bmc_id))


def look(port: BmcPort, job: Job, bmc: Bmc, login: Login) -> tuple[str, dict[str, Any]]:
    """One server's part of a condition job: the sentence, and what was read."""
    state = port.power(bmc, login, Power.STATUS)
    condition = port.condition(bmc, login)
    odd = [reading for reading in condition.readings if reading.health is not Health.OK]
    said = f"power {state}, health {condition.health}, {len(condition.readings)} sensors"
    if named := [each for each in odd if each.health in (Health.WARNING, Health.CRITICAL)]:
        said += f"; {', '.join(f'{each.name} {each.health}' for each in named)}"
    told = asdict(condition) | {"readings": [asdict(r) for r in (condition.readings if job.args["all"] else odd)]}
    return said, {"power": state.value, **told}
