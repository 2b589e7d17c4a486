"""Power, boot device and identity over BMCs, as jobs: leased, resumable, a result per target.

A target that has a result is never touched again by the same job, so that a resumed job powers nobody twice.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any
from uuid import uuid4

from provisioner.actions import arm as arming
from provisioner.actions.harvest import merge, merge_chassis
from provisioner.domain.bmc import Bmc, BootDevice, Login, Power
from provisioner.domain.errors import BmcError, InvalidValue, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import SECOND
from provisioner.domain.machine import Machine, State
from provisioner.domain.ports import BmcPort, Compiler, Store, Transaction
from provisioner.domain.records import Job

KINDS = ("power", "install", "boot-device", "harvest")
LEASE = 120 * SECOND
_AT_ONCE = 16
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
        raise InvalidValue("operation", operation, "is not known", f"choose one of {', '.join(Power)}")
    if wave < 0 or not 0 <= every <= _LONGEST_PAUSE:
        raise InvalidValue("wave", f"{wave} every {every:g} s", "makes no waves", "write --wave 20 --every 5s")
    with store.transaction(actor) as tx:
        machines = {machine.id: machine for machine in (_with_bmc(tx, ref) for ref in refs)}
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
        return _queue(tx, "power", args, len(ids), now)


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
    """Arm each machine, then power-cycle it to the network. Nothing is powered unless all could be armed."""
    with store.transaction(actor) as tx:
        machines = [_with_bmc(tx, ref) for ref in refs]
    for machine in machines:
        arming.arm(
            store,
            compiler,
            token_key,
            str(machine.id),
            actor=actor,
            now=now,
            hours=hours,
            wipe=wipe,
            retries=_RETRIES,
        )
    with store.transaction(actor) as tx:
        ids = [str(machine.id) for machine in machines]
        return _queue(tx, "install", {"machines": ids}, len(ids), now)


def enqueue_power_cycle(tx: Transaction, machine: Machine, now: int) -> Job:
    """Within a transaction: once more to the network, for a machine that hangs in its boot."""
    return _queue(tx, "install", {"machines": [str(machine.id)]}, 1, now)


def enqueue_boot_device(tx: Transaction, machine: Machine, device: BootDevice, now: int) -> Job | None:
    """Within a transaction: have the BMC set the boot device; None for a machine without a BMC."""
    if machine.bmc_id is None:
        return None
    return _queue(tx, "boot-device", {"machines": [str(machine.id)], "device": device.value}, 1, now)


def enqueue_harvest(store: Store, addresses: Iterable[str] | None = None, *, actor: str, now: int) -> Job:
    """Ask BMCs (default: all listed) who their servers are."""
    with store.transaction(actor) as tx:
        bmcs = tx.bmcs.list() if addresses is None else [tx.bmcs.get(address) for address in addresses]
        if not bmcs:
            raise Refused("no BMC is listed", "`provisioner bmc add ADDRESS --user U --password-stdin` first")
        return _queue(tx, "harvest", {"bmcs": [str(bmc.id) for bmc in bmcs]}, len(bmcs), now)


def run(
    store: Store,
    port: BmcPort,
    job: Job,
    clock: Callable[[], int],
    *,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[Job], None] = lambda _: None,
) -> Job:
    """Carry a leased job out and store each result as it comes. Returns the finished job.

    What cannot be done twice without harm (cycle, reset, install) is marked before it begins: if this process dies
    in the middle, those who go on report such a machine instead of switching it again.
    """
    targets = job.args.get("machines") or job.args.get("bmcs") or []
    results: dict[str, Any] = dict(job.result)
    todo = [target for target in targets if target not in results]
    size = job.args.get("wave") or max(1, len(todo))
    every = float(job.args.get("every") or 0)
    waves = [todo[start : start + size] for start in range(0, len(todo), size)]
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, max(1, len(todo)))) as pool:
        for number, wave in enumerate(waves):
            if number:
                job = _kept(store, replace(job, lease_until=clock() + LEASE + int(every * SECOND)))
                sleep(every)
            if not _repeatable(job):
                begun = dict(results) | _begun(store, wave)
                job = _kept(store, replace(job, result=begun, lease_until=clock() + LEASE))
            running = {pool.submit(_one, store, port, job, target, clock): target for target in wave}
            for future in as_completed(running):
                results[running[future]] = future.result()
                shown = {**job.result, **results}
                job = _kept(store, replace(job, result=shown, done=len(results), lease_until=clock() + LEASE))
                progress(job)
    failures = sum(1 for result in results.values() if not result["ok"])
    state = "done" if not failures else "failed" if failures == len(results) else "partly"
    with store.transaction(job.actor) as tx:
        return tx.jobs.put(replace(job, state=state, lease_until=0))


def _repeatable(job: Job) -> bool:
    """Does doing it again change nothing? "On" for a machine that is on is a look."""
    return job.kind not in ("power", "install") or job.args.get("operation") in (Power.ON, Power.OFF, Power.STATUS)


def _begun(store: Store, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What stands there if this process ends before the switching does."""
    said = "was being switched when the service stopped, and is not switched again; look at its power state"
    with store.reading() as tx:
        machines = {target: tx.machines.find(target) for target in targets}
    return {t: {"ok": False, "name": found.name if found else t, "said": said} for t, found in machines.items()}


def _kept(store: Store, job: Job) -> Job:
    with store.transaction(job.actor) as tx:
        return tx.jobs.put(job)


def work(store: Store, port: BmcPort, clock: Callable[[], int]) -> Job | None:
    """Lease one job and carry it out; None when nothing waits. The bmc service calls this in a loop."""
    with store.transaction("bmc") as tx:
        now = clock()
        job = tx.jobs.lease(KINDS, now, now + LEASE)
    return run(store, port, job, clock) if job else None


def _one(store: Store, port: BmcPort, job: Job, target: str, clock: Callable[[], int]) -> dict[str, Any]:
    """One target; every outcome becomes a result and an event."""
    machine: Machine | None = None
    try:
        with store.transaction(job.actor) as tx:
            if job.kind == "harvest":
                bmc = tx.bmcs.get(target)
            else:
                machine = tx.machines.get(target)
                bmc = tx.bmcs.get(str(machine.bmc_id))
            login = _login(tx, bmc)
        if job.kind == "harvest":
            return _harvested(store, port, job, bmc, login, clock)
        assert machine is not None  # noqa: S101 - set above for every other kind
        said = _operate(port, job, machine, bmc, login)
        kind, ok = Kind.BMC_POWER, True
    except Refused as refusal:
        said, kind, ok = str(refusal), Kind.BMC_ERROR, False
    with store.transaction(job.actor) as tx:
        tx.events.add(
            Event(
                kind,
                said,
                clock(),
                machine.id if machine else None,
                machine.boot_mac if machine else None,
                actor=job.actor,
            )
        )
    return {"ok": ok, "name": machine.name if machine else target, "said": said}


def _operate(port: BmcPort, job: Job, machine: Machine, bmc: Bmc, login: Login) -> str:
    uefi = machine.firmware.startswith("uefi")
    if job.kind == "boot-device":
        device = BootDevice(job.args["device"])
        port.set_boot_device(bmc, login, device, persistent=device is BootDevice.DISK, uefi=uefi)
        return f"BMC {bmc.address}: boot device set to {device}"
    if job.kind == "install":
        port.set_boot_device(bmc, login, BootDevice.NETWORK, uefi=uefi)
        was = port.power(bmc, login, Power.STATUS)
        port.power(bmc, login, Power.ON if was is Power.OFF else Power.CYCLE)
        return f"BMC {bmc.address}: next boot from the network, power {'on' if was is Power.OFF else 'cycled'}"
    state = port.power(bmc, login, Power(job.args["operation"]))
    return f"BMC {bmc.address}: power {job.args['operation']}, now {state}"


def _harvested(
    store: Store, port: BmcPort, job: Job, bmc: Bmc, login: Login, clock: Callable[[], int]
) -> dict[str, Any]:
    if bmc.protocol == "cmm":
        chassis = port.chassis(bmc, login)
        with store.transaction(job.actor) as tx:
            sentences = merge_chassis(tx, bmc, chassis, clock())
        return {"ok": bool(sentences), "name": bmc.address, "said": "; ".join(sentences) or "no blades"}
    identity = port.identify(bmc, login)
    with store.transaction(job.actor) as tx:
        machine, said = merge(tx, bmc, identity, clock())
    return {"ok": bool(identity.macs), "name": machine.name if machine else bmc.address, "said": said}


def _login(tx: Transaction, bmc: Bmc) -> Login:
    if bmc.credential_id is None:
        raise BmcError(
            "wrong-password",
            f"BMC {bmc.address} has no login",
            f"`provisioner bmc add {bmc.address} --user U --password-stdin`",
        )
    credential = tx.credentials.get(str(bmc.credential_id))
    return Login(credential.user, credential.password)


def _with_bmc(tx: Transaction, ref: str) -> Machine:
    machine = tx.machines.get(ref)
    if machine.bmc_id is None:
        raise Refused(
            f"machine {machine.name} has no BMC", f"`provisioner machine set {machine.name} --bmc ADDRESS`"
        )
    return machine


def _queue(tx: Transaction, kind: str, args: dict[str, Any], total: int, now: int) -> Job:
    return tx.jobs.put(Job(uuid4(), kind, args, tx.actor, now, total=total))
