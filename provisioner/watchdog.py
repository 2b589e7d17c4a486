"""What is done in time although nobody asks: ending what is overdue, trying hanging boots again, bringing journal
and database together, forgetting what is old.

Each duty stands for itself: a journal that cannot be read keeps no machine from failing with a reason.
"""

import threading
import time
from collections.abc import Callable
from uuid import UUID

import structlog

from provisioner.actions import arm, patience
from provisioner.actions.replay import replay
from provisioner.actions.retention import Retention
from provisioner.actions.retry_boot import may_retry, retry_boots
from provisioner.domain import lifecycle
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.machine import Machine
from provisioner.domain.ports import SnapshotSource, Store
from provisioner.domain.spoken import SECOND
from provisioner.storage.journal import Journal

log = structlog.get_logger()
_LOOK_SECONDS = 1.0
_DUTIES_EVERY = 5 * SECOND
_CLOCK_STEP = 5 * SECOND
"""A wall clock that moves more than this beside the monotonic one was set."""


def boot_time() -> int:
    """Microseconds since the host's start, those in which it slept too; never set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Watchdog:
    """``look`` does what is due; ``run`` looks once a second, the first time at once. No fault ends it."""

    def __init__(
        self,
        store: Store,
        feed: SnapshotSource,
        journal: Journal,
        retention: Retention,
        clock: Callable[[], int],
        steady: Callable[[], int] = boot_time,
    ) -> None:
        """``clock``: UTC microseconds; ``steady``: the same unit, never set."""
        self._store = store
        self._feed = feed
        self._journal = journal
        self._retention = retention
        self._clock, self._steady = clock, steady
        self._offset = clock() - steady()
        self._listening = False
        self._due = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look()
            stop.wait(_LOOK_SECONDS)

    def look(self) -> None:
        # First: what the clock or our own absence explains must not be held against a machine.
        if not (self._done(self._follow_clock) and self._done(self._listen_again)):
            return
        if self._steady() < self._due:
            return
        self._due = self._steady() + _DUTIES_EVERY
        for duty in (self._replay, self._retry_boots, self._end_overdue, self._forget):
            self._done(duty)

    def _done(self, duty: Callable[[], None]) -> bool:
        try:
            duty()
        except (StoreUnavailable, Refused) as error:
            log.warning("watchdog waits for the database", error=str(error))
        except Exception:
            # A thread that ends here would never fail a machine again, and nobody would know.
            log.exception("a duty of the watchdog failed, is tried again", duty=duty.__name__)
        else:
            return True
        return False

    def _follow_clock(self) -> None:
        stepped = self._clock() - self._steady() - self._offset
        if abs(stepped) > _CLOCK_STEP:
            patience.clock_was_set(self._store, by=stepped, now=self._clock())
            log.warning(
                "the clock was set; open installs keep the time that they had left", seconds=stepped // SECOND
            )
            self._offset += stepped

    def _listen_again(self) -> None:
        if not self._listening:
            now = self._clock()
            patience.heard_nobody(
                self._store, self._those(lambda machine: lifecycle.stalled(machine, now)), now=now
            )
            self._listening = True

    def _replay(self) -> None:
        self._journal.replay(lambda entry: replay(self._store, entry))

    def _retry_boots(self) -> None:
        now = self._clock()
        if hang := self._those(lambda machine: may_retry(machine, now)):
            for machine in retry_boots(self._store, hang, now=now):
                log.warning("hangs in its boot", machine=machine.name)

    def _end_overdue(self) -> None:
        now = self._clock()
        if late := self._those(lambda machine: lifecycle.overdue(machine, now) is not None):
            for machine in arm.expire(self._store, late, now=now):
                log.warning("overdue", machine=machine.name, reason=machine.state_reason)

    def _forget(self) -> None:
        self._retention.step(self._clock())

    def _those(self, condition: Callable[[Machine], bool]) -> list[UUID]:
        return [machine.id for machine in self._feed.inventory.machines.values() if condition(machine)]
