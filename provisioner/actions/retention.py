"""What nobody asks for any more is forgotten; what changed, who did it and what installs came to stays."""

from provisioner.domain.events import OBSERVED
from provisioner.domain.ports import Store

BATCH = 500
"""Rows forgotten in one transaction: nobody waits for longer than that takes."""
_PAUSE = 3600 * 1_000_000
_DAY = 86_400 * 1_000_000


class Retention:
    """Forgets in small steps. ``days`` 0: nothing, ever."""

    def __init__(self, store: Store, days: float) -> None:
        self._store = store
        self._days = days
        self._due = 0

    def step(self, now: int) -> int:
        """Forget one batch of each sort if there may be one; how many rows went. Raises StoreUnavailable.

        After batches that were not full it rests for an hour. Machines with an open install keep their whole story.
        """
        # A clock that was set back must not make it rest for longer.
        if not self._days or now < self._due <= now + _PAUSE:
            return 0
        before = now - int(self._days * _DAY)
        with self._store.transaction("retention") as tx:
            gone = (
                tx.events.forget(OBSERVED, before=before, limit=BATCH),
                tx.machines.forget_files(before=before, limit=BATCH),
                tx.jobs.forget(before=before, limit=BATCH),
                tx.tokens.forget(before=before, limit=BATCH),
            )
        self._due = now if BATCH in gone else now + _PAUSE
        return sum(gone)
