"""Carries jobs for BMCs out: leased, resumable, a result per target.

A target that has a result is never touched again by the same job, so that a resumed job powers nobody twice.
Whoever carries a job out owns its lease; who has lost it stops, because another goes on.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from provisioner.actions import boot_from, health, logins, reconcile, scan
from provisioner.actions.harvest import merge, merge_chassis
from provisioner.actions.logins import Chosen
from provisioner.actions.power import begun
from provisioner.domain.bmc import Bmc, BootDevice, Chassis, Identity, Login, Power
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import SECOND
from provisioner.domain.machine import Machine
from provisioner.domain.ports import BmcPort, Store, Transaction
from provisioner.domain.progress import nothing_runs_yet
from provisioner.domain.records import Job

KINDS = ("power", "install", "boot-device", "media", "harvest", "condition", "scan")
LEASE = 120 * SECOND
_RENEWED_AFTER = 20 * SECOND
"""A lease outlives operations that take longer than it."""
_BEAT = 0.5
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
    return running.ended()


@dataclass(frozen=True, slots=True)
class _Asked:
    """One target under way."""

    target: str
    name: str
    bmc: Bmc
    machine: Machine | None
    chosen: Chosen


@dataclass(frozen=True, slots=True)
class _Looked:
    """A sentence, and what was read in figures."""

    said: str
    told: Mapping[str, Any]


_Answer = str | Identity | Chassis | _Looked
_Told = tuple[_Answer, Chosen] | Refused
"""What came of a target, before it is written down."""


class _Running:
    """A job under way, as the database knows it.

    Threads ask the BMCs; the database is written by one of them only, everything that came within half a second in
    one transaction with the job's own progress.
    """

    def __init__(
        self, store: Store, port: BmcPort, job: Job, clock: Clock, progress: Callable[[Job], None]
    ) -> None:
        self._store = store
        self._port = port
        self._job = job
        self._clock = clock
        self._progress = progress
        self._under_way: dict[Future[_Told], _Asked] = {}

    def scanned(self, job: Job, results: Mapping[str, Any], done: int) -> Job:
        with self._store.transaction(job.actor) as tx:
            self._keep(tx, replace(job, result={**job.result, **results}, done=done))
        self._progress(self._job)
        return self._job

    def targets(self, sleep: Callable[[float], None]) -> None:
        # A mark of a process that died counts: that target has all the result it gets.
        job = self._job = replace(self._job, done=len(self._job.result))
        names = job.args.get("machines") or job.args.get("bmcs") or []
        todo = [target for target in names if target not in job.result]
        size = job.args.get("wave") or max(1, len(todo))
        every = float(job.args.get("every") or 0)
        waves = [todo[start : start + size] for start in range(0, len(todo), size)]
        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, max(1, len(todo)))) as pool:
            for number, wave in enumerate(waves):
                if number:
                    with self._store.transaction(job.actor) as tx:
                        self._keep(tx, self._job, every)
                    sleep(every)
                self._wave(pool, deque(wave))

    def _wave(self, pool: ThreadPoolExecutor, waiting: deque[str]) -> None:
        ended: Iterable[Future[_Told]] = ()
        try:
            while waiting or self._under_way:
                ended = wait(self._under_way, _BEAT).done if self._under_way else ()
                late = self._clock() > self._job.lease_until - LEASE + _RENEWED_AFTER
                if ended or late or (waiting and len(self._under_way) < _AT_ONCE):
                    self._beat(pool, ended, waiting)
        except KeyboardInterrupt:
            # Who has not begun is as if never named; who has is waited for, so that its result is not lost.
            left = [self._under_way.pop(each) for each in list(self._under_way) if each.cancel()]
            finished = wait(self._under_way).done
            with self._store.transaction(self._job.actor) as tx:
                for asked in left:
                    logins.release(tx, asked.bmc, asked.chosen)
                told = self._written(tx, finished)
                unbegun = {asked.target for asked in left}
                kept = {key: each for key, each in self._job.result.items() if key not in unbegun}
                self._keep(tx, replace(self._job, result={**kept, **told}, done=self._job.done + len(told)))
            raise

    def _beat(self, pool: ThreadPoolExecutor, ended: Iterable[Future[_Told]], waiting: deque[str]) -> None:
        """Write down what has ended, and take on as many again."""
        with self._store.transaction(self._job.actor) as tx:
            told = self._written(tx, ended)
            next_ones: list[_Asked] = []
            while waiting and len(self._under_way) + len(next_ones) < 2 * _AT_ONCE:
                taken = self._taken(tx, waiting.popleft())
                if isinstance(taken, _Asked):
                    next_ones.append(taken)
                else:
                    told |= taken
            marks = {} if _repeatable(self._job) else {each.target: begun(each.name) for each in next_ones}
            result = {**self._job.result, **told, **marks}
            self._keep(tx, replace(self._job, result=result, done=self._job.done + len(told)))
        for asked in next_ones:
            self._under_way[pool.submit(self._ask, asked)] = asked
        self._progress(self._job)

    def _taken(self, tx: Transaction, target: str) -> _Asked | dict[str, Any]:
        """A target with its login; or its result, if it cannot even be asked."""
        name, machine = target, None
        try:
            if self._job.kind in ("harvest", "condition"):
                bmc = tx.bmcs.get(target)
                name = bmc.address
            else:
                machine = tx.machines.get(target)
                name = machine.name
                if untimely := _untimely(self._job, machine):
                    return {target: self._noted(tx, name, machine, untimely)}
                bmc = tx.bmcs.get(str(machine.bmc_id))
            return _Asked(target, name, bmc, machine, logins.choose(tx, bmc, self._clock()))
        except Refused as refusal:
            return {target: self._noted(tx, name, machine, refusal)}

    def _ask(self, asked: _Asked) -> _Told:
        """In a thread: the BMC's answer."""
        job, bmc, port = self._job, asked.bmc, self._port

        def call(login: Login) -> _Answer:
            if asked.machine is not None:
                return _operate(port, job, asked.machine, bmc, login)
            if job.kind == "condition":
                return _Looked(*health.look(port, job, bmc, login))
            return port.chassis(bmc, login) if bmc.protocol == "cmm" else port.identify(bmc, login)

        try:
            return logins.attempt(self._store, bmc, job.actor, self._clock, asked.chosen, call)
        except Refused as refusal:
            return refusal

    def _written(self, tx: Transaction, ended: Iterable[Future[_Told]]) -> dict[str, dict[str, Any]]:
        """The results by target; every outcome becomes an event."""
        results: dict[str, dict[str, Any]] = {}
        for future in ended:
            asked = self._under_way.pop(future)
            told = future.result()
            try:
                if isinstance(told, Refused):
                    raise told
                said, chosen = told
                logins.settle(tx, asked.bmc, chosen, self._clock())
                results[asked.target] = self._merged(tx, asked, said)
            except Refused as refusal:
                results[asked.target] = self._noted(tx, asked.name, asked.machine, refusal)
        return results

    def _merged(self, tx: Transaction, asked: _Asked, told: _Answer) -> dict[str, Any]:
        now = self._clock()
        if isinstance(told, Chassis):
            sentences = merge_chassis(tx, asked.bmc, told, now)
            return {"ok": bool(sentences), "name": asked.name, "said": "; ".join(sentences) or "no blades"}
        if isinstance(told, Identity):
            machine, said = merge(tx, asked.bmc, told, now)
            return {"ok": bool(told.macs), "name": machine.name if machine else asked.name, "said": said}
        if isinstance(told, _Looked) and asked.machine is None:
            return {"ok": True, "name": asked.name, "said": told.said, **told.told}
        if isinstance(told, _Looked):
            return {**self._noted(tx, asked.name, asked.machine, told.said), **told.told}
        return self._noted(tx, asked.name, asked.machine, told)

    def _noted(self, tx: Transaction, name: str, machine: Machine | None, said: str | Refused) -> dict[str, Any]:
        """The event and the result of what was switched, or of what failed."""
        ok = not isinstance(said, Refused)
        about, mac = (machine.id, machine.boot_mac) if machine else (None, None)
        kind = Kind.BMC_POWER if ok else Kind.BMC_ERROR
        tx.events.add(Event(kind, str(said), self._clock(), about, mac, actor=self._job.actor))
        return {"ok": ok, "name": name, "said": str(said)}

    def ended(self) -> Job:
        failures = sum(1 for result in self._job.result.values() if not result["ok"])
        state = "done" if not failures else "failed" if failures == len(self._job.result) else "partly"
        with self._store.transaction(self._job.actor) as tx:
            if self._job.kind == "harvest":
                reconcile.refreshed(tx, self._clock())
            self._put(tx, replace(self._job, state=state, lease_until=0))
        return self._job

    def _keep(self, tx: Transaction, job: Job, longer: float = 0.0) -> None:
        """Store it and renew the lease."""
        self._put(tx, replace(job, lease_until=self._clock() + LEASE + int(longer * SECOND)))

    def _put(self, tx: Transaction, job: Job) -> None:
        """Raises Refused if the lease is another's by now: each renewal moves it, so it tells whose it is."""
        if tx.jobs.get(str(job.id)).lease_until != self._job.lease_until:
            raise Refused(
                f"job {job.id} was taken over by another process",
                f"it goes on there; `provisioner job show {job.id}` shows how far it is",
            )
        self._job = tx.jobs.put(job)


def _untimely(job: Job, machine: Machine) -> str | Refused:
    """Why the power of a machine is left alone that was armed to be switched; empty: it waits for it.

    Between the asking and its turn an operator may have disarmed it, or somebody pressed its button: then it is at
    work, and switching it would end its install in the middle of its disk.
    """
    meant = job.args.get("installs", {}).get(str(machine.id))
    install = machine.install
    if meant is None:
        return ""
    if install is None or not install.open or str(install.id) != meant:
        return Refused(
            f"machine {machine.name} is {machine.state} by now, and not for the install that its power was to be "
            "switched for; its power is left alone",
            f"`provisioner machine install {machine.name}` if that is still wanted",
        )
    return "" if nothing_runs_yet(machine) else "is at its install already; its power is left alone"


def _repeatable(job: Job) -> bool:
    """Does doing it again change nothing? "On" for a machine that is on is a look."""
    return job.kind not in ("power", "install") or job.args.get("operation") in (Power.ON, Power.OFF, Power.STATUS)


def _operate(port: BmcPort, job: Job, machine: Machine, bmc: Bmc, login: Login) -> str | _Looked:
    if job.kind == "boot-device":
        return boot_from.set_device(port, job, machine, bmc, login)
    if job.kind == "media":
        return _Looked(*boot_from.change_media(port, job, machine, bmc, login))
    if job.kind == "install":
        port.set_boot_device(bmc, login, BootDevice.NETWORK, uefi=machine.firmware.startswith("uefi"))
        was = port.power(bmc, login, Power.STATUS)
        port.power(bmc, login, Power.ON if was is Power.OFF else Power.CYCLE)
        return f"BMC {bmc.address}: next boot from the network, power {'on' if was is Power.OFF else 'cycled'}"
    state = port.power(bmc, login, Power(job.args["operation"]))
    return f"BMC {bmc.address}: power {job.args['operation']}, now {state}"
