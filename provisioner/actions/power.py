"""Ask for power, boot device and identity over BMCs; ``bmc_jobs`` carries it out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from provisioner.actions import arm as arming
from provisioner.domain.bmc import BootDevice, Power
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.machine import Machine, State
from provisioner.domain.ports import Compiler, Store, Transaction
from provisioner.domain.records import Job

_RETRIES = 2
"""Power cycles that "install" allows the watchdog for a machine that hangs in its boot."""
_LONGEST_PAUSE = 3600.0


def enqueue(
    store: Store,
    refs: Sequence[str],
    operation: str,
    *,
    actor: str,
    now: int,
    rack: str = "",
    wave: int = 0,
    every: float = 0.0,
) -> Job:
    """Ask for a power operation on machines by name or id, or on all machines of ``rack`` that have a BMC.

    ``wave`` machines at a time (0: all), ``every`` so many seconds, so that a rack's fuse and the appliance live
    through it. Raises InvalidValue, NotFound, Refused (no BMC).
    """
    if operation not in tuple(Power):
        if (meant := next((ref for ref in refs if ref in tuple(Power)), None)) is not None:
            remedy = f"the operation comes first: `provisioner machine power {meant} {operation}`"
            raise InvalidValue("operation", operation, "is not known", remedy)
        raise InvalidValue("operation", operation, "is not known", f"choose one of {', '.join(Power)}")
    if wave < 0 or not 0 <= every <= _LONGEST_PAUSE:
        raise InvalidValue("wave", f"{wave} every {every:g} s", "makes no waves", "write --wave 20 --every 5s")
    with store.transaction(actor) as tx:
        machines = {machine.id: machine for machine in (with_bmc(tx, ref) for ref in refs)}
        if rack:
            listed = [m for m in tx.machines.list() if m.slot.rack == rack and m.state is not State.RETIRED]
            machines |= {machine.id: machine for machine in listed if machine.bmc_id is not None}
        if not machines:
            raise Refused(
                f"no machine of rack {rack} has a BMC" if rack else "no machine is named",
                "`provisioner machine list` shows racks and BMCs",
            )
        ids = [str(machine_id) for machine_id in machines]
        args = {"machines": ids, "operation": operation, "wave": wave, "every": every}
        if operation in (Power.CYCLE, Power.RESET) and (same := _asked_already(tx, machines, args)):
            return same
        return queued(tx, "power", args, len(ids), now)


def _asked_already(tx: Transaction, machines: Mapping[UUID, Machine], args: Mapping[str, Any]) -> Job | None:
    """The unfinished job that is this one: who asked did not hear the answer, and asks again.

    A program that repeats a request, or a second click, must not switch a server twice. Raises Refused for a
    machine that waits for another job to switch it.
    """
    for job in tx.jobs.unfinished(("power", "install")):
        if (job.kind, job.actor, job.args) == ("power", tx.actor, args):
            return job
        if job.args.get("operation") in (Power.ON, Power.OFF, Power.STATUS):
            continue
        for target in job.args["machines"]:
            machine = machines.get(UUID(target))
            if machine is not None and job.result.get(target) in (None, begun(machine.name)):
                what = job.args.get("operation", "install")
                raise Refused(
                    f"machine {machine.name} is about to be switched ({what}, job {job.id})",
                    f"`provisioner job show {job.id}` tells when that is over",
                )
    return None


def begun(name: str) -> dict[str, Any]:
    """A target's result while it is being switched; what stands there if the process ends before that does."""
    said = "was being switched when the service stopped, and is not switched again; look at its power state"
    return {"ok": False, "name": name, "said": said}


def enqueue_install(
    store: Store,
    compiler: Compiler,
    token_key: bytes,
    refs: Sequence[str],
    *,
    actor: str,
    now: int,
    hours: float = 24.0,
    wipe: bool = False,
) -> Job:
    """Arm each machine, then power-cycle it to the network: all of them, or none is armed and none is switched.

    Raises what ``arm`` raises.
    """
    with store.transaction(actor) as tx:
        machines = {machine.id: machine for machine in (with_bmc(tx, ref) for ref in refs)}
    # All are compiled before the first is armed: who is armed and was told "refused" would be wiped by a reboot.
    prepared = [
        arming.prepare(
            store,
            compiler,
            token_key,
            str(machine_id),
            actor=actor,
            now=now,
            hours=hours,
            wipe=wipe,
            retries=_RETRIES,
        )
        for machine_id in machines
    ]
    with store.transaction(actor) as tx:
        return _queued_install(tx, arming.freeze(tx, prepared, now), now)


def enqueue_netboot(store: Store, refs: Sequence[str], *, actor: str, now: int) -> Job:
    """Power-cycle each machine to the network, as it is. Raises NotFound, Refused (no BMC)."""
    with store.transaction(actor) as tx:
        ids = [str(with_bmc(tx, ref).id) for ref in refs]
        return queued(tx, "install", {"machines": ids}, len(ids), now)


def enqueue_power_cycle(tx: Transaction, machine: Machine, now: int) -> Job:
    """Within a transaction: once more to the network, for a machine that hangs in its boot."""
    return _queued_install(tx, [machine], now)


def _queued_install(tx: Transaction, armed: Sequence[Machine], now: int) -> Job:
    """Until its turn comes a machine may be disarmed, or begin by itself: the job says which install it is for."""
    installs = {str(machine.id): str(machine.install.id) for machine in armed if machine.install is not None}
    return queued(tx, "install", {"machines": [*installs], "installs": installs}, len(installs), now)


def enqueue_boot_device(tx: Transaction, machine: Machine, device: BootDevice, now: int) -> Job | None:
    """Within a transaction: have the BMC set the boot device; None for a machine without a BMC."""
    if machine.bmc_id is None:
        return None
    return queued(tx, "boot-device", {"machines": [str(machine.id)], "device": device.value}, 1, now)


def enqueue_harvest(store: Store, addresses: Iterable[str] | None = None, *, actor: str, now: int) -> Job:
    """Ask BMCs (default: all listed) who their servers are."""
    with store.transaction(actor) as tx:
        bmcs = tx.bmcs.list() if addresses is None else [tx.bmcs.get(address) for address in addresses]
        if not bmcs:
            raise Refused("no BMC is listed", "`provisioner bmc add ADDRESS --user U --password-stdin` first")
        return queued(tx, "harvest", {"bmcs": [str(bmc.id) for bmc in bmcs]}, len(bmcs), now)


def with_bmc(tx: Transaction, ref: str) -> Machine:
    """Raises NotFound, Refused."""
    machine = tx.machines.get(ref)
    if machine.bmc_id is None:
        raise Refused(
            f"machine {machine.name} has no BMC", f"`provisioner machine set {machine.name} --bmc ADDRESS`"
        )
    return machine


def queued(tx: Transaction, kind: str, args: dict[str, Any], total: int, now: int) -> Job:
    """Within a transaction: a job that the bmc service, or who asked, carries out."""
    return tx.jobs.put(Job(uuid4(), kind, args, tx.actor, now, total=total))
