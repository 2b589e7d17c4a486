"""One writer for observations, so that nobody on the packet path waits for a database."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from provisioner.actions import newcomers
from provisioner.actions.happening import Happening, What, carry_out
from provisioner.domain import lifecycle
from provisioner.domain.boot import Action
from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine, Phase
from provisioner.domain.ports import Store, Transaction
from provisioner.domain.records import PhaseRecord
from provisioner.storage.store import utc_microseconds

log = structlog.get_logger()

CAPACITY = 10_000
"""Different observations that may wait; more are counted and dropped."""

_LINGER_SECONDS = 0.05
"""How long an observation waits for others to share its transaction."""

_WINDOW_SECONDS = 2.0
"""Repeats of what was just written are held back so long, then written once, counted."""

_BATCH = 500
_FEWEST = 16
"""Observations in one transaction are as many as can be written within _HELD_SECONDS, between these two."""
_HELD_SECONDS = 0.1
"""So long others wait for the database because of them: in a boot storm a machine waits for its answer."""
_LONGEST_PAUSE_SECONDS = 0.5
"""Between two batches the database is left to others for as long as the first took, and no longer than this."""

_RETRY_SECONDS = 0.5
_BEFORE_KERNEL = frozenset({Phase.FIRMWARE, Phase.LOADER})
_EARLY_PHASES = frozenset({Phase.FIRMWARE, Phase.LOADER, Phase.KERNEL, Phase.CONFIG})

_Key = tuple[UUID | None, Mac | None, Kind, str]


@dataclass(slots=True)
class _Waiting:
    """An observation on its way, and how often it came since it was last written."""

    event: Event
    due: float
    """Monotonic."""
    repeat: bool
    count: int = 1


class EventWriter:
    """Implements ``ports.Observer``.

    Observations are written in batches by a thread. Identical ones (machine, MAC, kind, message) within a short
    time become one event with ``data["count"]``. With the database away a bounded number waits. An event with a
    machine and an early phase also moves that machine's install along; ``data["firmware"]`` is noted as what the
    machine booted with last.
    """

    def __init__(self, store: Store, service: str, *, capacity: int = CAPACITY) -> None:
        self._store = store
        self._service = service
        self._capacity = capacity
        self._lock = threading.Condition()
        self._waiting: dict[_Key, _Waiting] = {}
        self._sightings: dict[tuple[Mac, str], Sighting] = {}
        self._recent: dict[_Key, float] = {}
        self._dropped = 0
        self._size = _BATCH
        self.dropped_total = 0
        self._busy = False
        self._hurry = False
        self._closed = False
        self._away_said = False
        self._thread = threading.Thread(target=self._run, name="event writer", daemon=True)
        self._thread.start()

    def observe(self, event: Event) -> None:
        key = (event.machine_id, event.mac, event.kind, event.message)
        now = time.monotonic()
        with self._lock:
            if waiting := self._waiting.get(key):
                waiting.count += 1
            elif len(self._waiting) >= self._capacity or self._closed:
                self._dropped += 1
                self.dropped_total += 1
            else:
                held_until = self._recent.get(key, 0.0)
                repeat = held_until > now
                self._waiting[key] = _Waiting(event, held_until if repeat else now + _LINGER_SECONDS, repeat)
                self._lock.notify_all()

    def sight(self, sighting: Sighting) -> None:
        key = (sighting.mac, sighting.source)
        with self._lock:
            if key not in self._sightings and len(self._sightings) >= self._capacity:
                self._dropped += 1
                self.dropped_total += 1
                return
            self._sightings[key] = sighting
            self._lock.notify_all()

    def has_room(self, timeout: float) -> bool:
        """Is there room for as many as are written together? Waits for it, ``timeout`` seconds at most."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._waiting) + _BATCH <= self._capacity, timeout)

    def flush(self, timeout: float = 5.0) -> bool:
        """Write all that waits, held-back repeats too. False if it was not written within ``timeout`` seconds."""
        with self._lock:
            self._hurry = True
            self._lock.notify_all()
            return self._lock.wait_for(self._idle, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Flush and end the thread; what cannot be written by then is counted in the log."""
        self.flush(timeout)
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._thread.join(timeout)
        if left := len(self._waiting) + len(self._sightings):
            log.warning("observations lost at the end", count=left, service=self._service)

    def _idle(self) -> bool:
        return not (self._waiting or self._sightings or self._busy or self._dropped)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            started = time.monotonic()
            self._write(*batch)
            took = time.monotonic() - started
            if took > _HELD_SECONDS:
                self._size = max(_FEWEST, self._size // 2)
            elif took < _HELD_SECONDS / 2:
                self._size = min(_BATCH, self._size * 2)
            with self._lock:
                self._busy = False
                if self._idle():
                    self._hurry = False
                self._lock.notify_all()
                # SQLite lets writers in by luck: with a flood of observations nobody else would have any.
                self._lock.wait_for(lambda: self._hurry or self._closed, min(took, _LONGEST_PAUSE_SECONDS))

    def _next_batch(self) -> tuple[list[_Waiting], list[Sighting], int] | None:
        """What is due, taken out of the queue; None when the writer is closed."""
        with self._lock:
            while True:
                if self._closed:
                    return None
                now = time.monotonic()
                due = [key for key, waiting in self._waiting.items() if self._hurry or waiting.due <= now]
                if due or self._sightings or self._dropped:
                    break
                dues = [waiting.due for waiting in self._waiting.values()]
                self._lock.wait(max(0.0, min(dues) - now) if dues else None)
            self._busy = True
            batch = [self._waiting.pop(key) for key in due[: self._size]]
            self._recent = {key: until for key, until in self._recent.items() if until > now}
            self._recent.update((key, now + _WINDOW_SECONDS) for key in due[: self._size])
            sightings, self._sightings = list(self._sightings.values()), {}
            dropped, self._dropped = self._dropped, 0
        return batch, sightings, dropped

    def _write(self, batch: list[_Waiting], sightings: list[Sighting], dropped: int) -> None:
        while True:
            try:
                with self._store.transaction(self._service) as tx:
                    tx.see(sightings)
                    newcomers.list_seen(tx, sightings)
                    if dropped:
                        tx.events.add(self._about_dropped(dropped))
                    self._add(tx, batch)
            except StoreUnavailable as error:
                self._database_away(error)
                with self._lock:
                    # Woken by observations too; the pause is what matters.
                    if self._lock.wait_for(lambda: self._closed, _RETRY_SECONDS):
                        log.warning("observations lost at the end", count=len(batch), service=self._service)
                        return
            except Exception as error:
                self._one_by_one(batch, sightings, dropped, error)
                return
            else:
                self._away_said = False
                return

    def _one_by_one(self, batch: list[_Waiting], sightings: list[Sighting], dropped: int, error: Exception) -> None:
        """Something of these cannot be written; the rest is."""
        if len(batch) + len(sightings) + bool(dropped) == 1:
            what = repr(batch[0].event) if batch else repr(sightings[0]) if sightings else f"{dropped} dropped"
            log.warning("observation not written", observation=what, error=repr(error))
            return
        for waiting in batch:
            self._write([waiting], [], 0)
        for sighting in sightings:
            self._write([], [sighting], 0)
        if dropped:
            self._write([], [], dropped)

    def _add(self, tx: Transaction, batch: Sequence[_Waiting]) -> None:
        told = [
            waiting.event._replace(data={**waiting.event.data, "count": waiting.count})
            if waiting.count > 1
            else waiting.event
            for waiting in batch
        ]
        tx.events.add(*told)
        by_machine: dict[UUID, list[Event]] = defaultdict(list)
        for waiting in batch:
            if waiting.event.machine_id is not None and not waiting.repeat:
                by_machine[waiting.event.machine_id].append(waiting.event)
        for machine_id, events in by_machine.items():
            _move(tx, machine_id, events)

    def _about_dropped(self, count: int) -> Event:
        message = f"{count} observations of {self._service} were not kept; too many waited for the database"
        return Event(Kind.SERVICE, message, utc_microseconds(), data={"dropped": count})

    def _database_away(self, error: StoreUnavailable) -> None:
        if not self._away_said:
            self._away_said = True
            log.warning("database away, observations wait", error=str(error), service=self._service)


def _move(tx: Transaction, machine_id: UUID, events: Sequence[Event]) -> None:
    """Let the machine's install, and what is known of its firmware, follow what was seen, oldest first."""
    telling = [e for e in events if e.phase in _EARLY_PHASES or e.data.get("firmware") or e.data.get("switch_port")]
    machine = tx.machines.find(str(machine_id)) if telling else None
    if machine is None:
        return
    for event in telling:
        machine = _placed(tx, machine, event)
    after = machine
    reached: dict[Phase, PhaseRecord] = {}
    for event in telling:
        if after.install is not None and _sent_away(after, event):
            _keep(tx, machine, after, reached.values())
            lapse = Happening(What.LAPSE, after.id, after.install.id, event.at)
            machine = after = carry_out(tx, after, lapse)
            reached = {}
            continue
        if firmware := event.data.get("firmware"):
            after = replace(after, firmware=str(firmware))
        install = after.install
        if event.phase is not None and event.phase in _EARLY_PHASES and install is not None and install.open:
            record = reached.get(event.phase, PhaseRecord(install.id, event.phase, event.at, event.at))
            reached[event.phase] = replace(record, last_at=event.at)
            # Services write at different moments: what was seen before the last phase must not bring it back.
            if install.phase_at is None or event.at >= install.phase_at:
                after = lifecycle.observed(after, event.phase, event.at)
    _keep(tx, machine, after, reached.values())


def _keep(tx: Transaction, before: Machine, after: Machine, reached: Iterable[PhaseRecord]) -> None:
    for record in reached:
        tx.machines.put_phase(record)
    if after != before:
        tx.machines.put_progress(after)


def _placed(tx: Transaction, machine: Machine, event: Event) -> Machine:
    """The machine at the switch port that it was seen at."""
    port = event.data.get("switch_port")
    if port and any(nic.mac == event.mac and nic.switch_port != port for nic in machine.interfaces):
        # Where it is plugged in is knowledge about the machine, not progress: it counts as an edit.
        nics = (replace(nic, switch_port=str(port)) if nic.mac == event.mac else nic for nic in machine.interfaces)
        machine = tx.machines.put(replace(machine, interfaces=tuple(nics)))
    if event.phase in _EARLY_PHASES and event.mac == machine.boot_mac:
        machine = newcomers.kept_in_place(tx, machine, str(port or ""), event.at)
    return machine


def _sent_away(machine: Machine, event: Event) -> bool:
    """Was the boot after the last attempt led elsewhere by a service that has no database to say so in?

    GRUB's and PXELINUX's configs are TFTP's; over HTTP ``deliver`` does the same at the boot script. A datagram
    with a forged source must not fail an install that runs: the boot was seen on the wire before (DHCP, which
    brings the phase back). Without our DHCP the install's deadline ends it.
    """
    gets, install = event.data.get("gets"), machine.install
    led_elsewhere = event.kind is Kind.SCRIPT_SERVED and gets not in (None, Action.INSTALL)
    return led_elsewhere and install is not None and install.phase in _BEFORE_KERNEL and lifecycle.spent(machine)
