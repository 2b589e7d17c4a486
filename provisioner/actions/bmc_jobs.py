"""Carries jobs for BMCs out: leased, resumable, a result per target.

A target that has a result is never touched again by the same job, so that a resumed job powers nobody twice.
Whoever carries a job out owns its lease; who has lost it stops, because another goes on.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from provisioner.actions import reconcile, scan
from provisioner.actions.harvest import merge, merge_chassis
from provisioner.actions.logins import with_login
from provisioner.domain.bmc import Bmc, BootDevice, Login, Power
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import SECOND
from provisioner.domain.machine import Machine
from provisioner.domain.ports import BmcPort, Store
from provisioner.domain.records import Job

KINDS = ("power", "install", "boot-device", "harvest", "scan")
LEASE = 120 * SECOND
_RENEWED_AFTER = 20 * SECOND
"""A lease outlives operations that take longer than it."""
_KEPT_EVERY = 0.5
"""Seconds between two looks at what has ended: ten thousand results are not written ten thousand times."""
_AT_ONCE = 32

Clock = Callable[[], int]


def work(store: Store, port: BmcPort, clock: Clock) -> Job | None:
    """Lease one job and carry it out; None when nothing waits. The bmc service calls this in a loop."""
    with store.transaction("bmc") as tx:
        now = clock()
        job = tx.jobs.lease(KINDS, now, now + LEASE)
    return run(store, port, job, clock) if job else None


def run(
    store: Store,
    port: BmcPort,
    job: Job,
    clock: Clock,
    *,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[Job], None] = lambda _: None,
) -> Job:
    """Carry a leased job out and store each result as it comes. Returns the finished job.

    What cannot be done twice without harm (cycle, reset, install) is marked before it begins: if this process dies
    in the middle, those who go on report such a machine instead of switching it again. Raises Refused when another
    process has taken the job over.
    """
    running = _Running(store, port, job, clock, progress)
    if job.kind == "scan":
        scan.go_on(store, port, job, clock, running.scanned)
    else:
        running.targets(sleep)
    if job.kind == "harvest":
        with store.transaction(job.actor) as tx:
            reconcile.refreshed(tx, clock())
    return running.ended()


class _Running:
    """A job under way, as the database knows it."""

    def __init__(
        self, store: Store, port: BmcPort, job: Job, clock: Clock, progress: Callable[[Job], None]
    ) -> None:
        self._store = store
        self._port = port
        self._job = job
        self._clock = clock
        self._progress = progress

    def scanned(self, job: Job, results: Mapping[str, Any], done: int) -> Job:
        self._keep(replace(job, result={**job.result, **results}, done=done))
        return self._job

    def targets(self, sleep: Callable[[float], None]) -> None:
        job = self._job
        names = job.args.get("machines") or job.args.get("bmcs") or []
        todo = [target for target in names if target not in job.result]
        size = job.args.get("wave") or max(1, len(todo))
        every = float(job.args.get("every") or 0)
        waves = [todo[start : start + size] for start in range(0, len(todo), size)]
        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, max(1, len(todo)))) as pool:
            for number, wave in enumerate(waves):
                if number:
                    self._keep(self._job, every)
                    sleep(every)
                self._wave(pool, wave)

    def _wave(self, pool: ThreadPoolExecutor, wave: Sequence[str]) -> None:
        marks = {} if _repeatable(self._job) else _begun(self._store, wave)
        done, results = self._job.done, dict(self._job.result)
        if marks:
            self._keep(replace(self._job, result={**results, **marks}))
        asked = {pool.submit(self._one, target): target for target in wave}

        def took(ended: Iterable[Future[dict[str, Any]]]) -> None:
            nonlocal done
            for future in ended:
                target = asked.pop(future)
                results[target] = future.result()
                marks.pop(target, None)
                done += 1

        try:
            while asked:
                took(wait(asked, _KEPT_EVERY).done)
                if done > self._job.done or self._clock() > self._job.lease_until - LEASE + _RENEWED_AFTER:
                    self._keep(replace(self._job, result={**results, **marks}, done=done))
        except KeyboardInterrupt:
            # Who has not begun keeps no mark; who has is waited for, so that its result is not lost.
            for future in [each for each in asked if each.cancel()]:
                marks.pop(asked.pop(future), None)
            took(list(wait(asked).done))
            self._keep(replace(self._job, result={**results, **marks}, done=done))
            raise

    def ended(self) -> Job:
        failures = sum(1 for result in self._job.result.values() if not result["ok"])
        state = "done" if not failures else "failed" if failures == len(self._job.result) else "partly"
        self._put(replace(self._job, state=state, lease_until=0))
        return self._job

    def _keep(self, job: Job, longer: float = 0.0) -> None:
        """Store it and renew the lease."""
        self._put(replace(job, lease_until=self._clock() + LEASE + int(longer * SECOND)))
        self._progress(self._job)

    def _put(self, job: Job) -> None:
        """Raises Refused if the lease is another's by now: each renewal moves it, so it tells whose it is."""
        with self._store.transaction(job.actor) as tx:
            if tx.jobs.get(str(job.id)).lease_until != self._job.lease_until:
                raise Refused(
                    f"job {job.id} was taken over by another process",
                    f"it goes on there; `GET /api/v1/jobs/{job.id}` shows how far it is",
                )
            self._job = tx.jobs.put(job)

    def _one(self, target: str) -> dict[str, Any]:
        """One target; every outcome becomes a result and an event."""
        store, job = self._store, self._job
        machine: Machine | None = None
        try:
            with store.reading() as tx:
                if job.kind == "harvest":
                    bmc = tx.bmcs.get(target)
                else:
                    machine = tx.machines.get(target)
                    bmc = tx.bmcs.get(str(machine.bmc_id))
            if machine is None:
                return self._harvested(bmc)
            switched = machine
            said = with_login(
                store, bmc, job.actor, self._clock, lambda login: _operate(self._port, job, switched, bmc, login)
            )
            kind, ok = Kind.BMC_POWER, True
        except Refused as refusal:
            said, kind, ok = str(refusal), Kind.BMC_ERROR, False
        mac = machine.boot_mac if machine else None
        with store.transaction(job.actor) as tx:
            tx.events.add(Event(kind, said, self._clock(), machine.id if machine else None, mac, actor=job.actor))
        return {"ok": ok, "name": machine.name if machine else self._named(target), "said": said}

    def _named(self, target: str) -> str:
        with self._store.reading() as tx:
            bmc = tx.bmcs.find(target)
        return bmc.address if bmc else target

    def _harvested(self, bmc: Bmc) -> dict[str, Any]:
        store, job, port = self._store, self._job, self._port
        if bmc.protocol == "cmm":
            chassis = with_login(store, bmc, job.actor, self._clock, lambda login: port.chassis(bmc, login))
            with store.transaction(job.actor) as tx:
                sentences = merge_chassis(tx, bmc, chassis, self._clock())
            return {"ok": bool(sentences), "name": bmc.address, "said": "; ".join(sentences) or "no blades"}
        identity = with_login(store, bmc, job.actor, self._clock, lambda login: port.identify(bmc, login))
        with store.transaction(job.actor) as tx:
            machine, said = merge(tx, bmc, identity, self._clock())
        return {"ok": bool(identity.macs), "name": machine.name if machine else bmc.address, "said": said}


def _repeatable(job: Job) -> bool:
    """Does doing it again change nothing? "On" for a machine that is on is a look."""
    return job.kind not in ("power", "install") or job.args.get("operation") in (Power.ON, Power.OFF, Power.STATUS)


def _begun(store: Store, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What stands there if this process ends before the switching does."""
    said = "was being switched when the service stopped, and is not switched again; look at its power state"
    with store.reading() as tx:
        machines = {target: tx.machines.find(target) for target in targets}
    return {t: {"ok": False, "name": found.name if found else t, "said": said} for t, found in machines.items()}


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
