"""The change feed: a process's snapshot of the inventory, current within 200 ms of a commit."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import structlog

from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.inventory import Inventory
from provisioner.storage.bell import rings
from provisioner.storage.snapshot_file import read_snapshot, write_snapshot
from provisioner.storage.store import SqlStore, utc_microseconds

log = structlog.get_logger()

_RECONNECT_SECONDS = (0.2, 2.0)
"""First and longest pause before the database is tried again."""

_SAVE_EVERY_SECONDS = 1.0
_SAVE_SHARE = 20
"""Writing the snapshot file may take one part in so many of the time."""


class ChangeFeed:
    """Implements ``ports.SnapshotSource``. While the database is away it serves what it had.

    ``snapshot_file``: kept up to date on disk and read at a start without a database; each process needs its
    own. ``keep`` False reads it only: to write 10,000 machines costs a second of Python's lock, so that the packet
    loops leave it to another process. ``files`` False leaves compiled bytes out of the snapshot (for processes that
    serve none); a part's name keeps that one only.
    """

    def __init__(
        self,
        store: SqlStore,
        *,
        snapshot_file: Path | None = None,
        keep: bool = True,
        files: bool | str = True,
    ) -> None:
        self._store = store
        self._snapshot_file = snapshot_file
        self._keep = keep
        self._files = files
        self._inventory = Inventory()
        self._loaded = False
        self._stale_since: int | None = utc_microseconds()
        self._away_said = False
        self._moved = threading.Condition()
        self._stop = threading.Event()
        # Two threads: writing a large snapshot to disk must not hold up the next change.
        self._threads = (
            threading.Thread(target=self._follow, name="change feed", daemon=True),
            threading.Thread(target=self._keep_on_disk, name="snapshot file", daemon=True),
        )
        self._on_change: list[Callable[[Inventory], None]] = []
        self._on_commit: list[Callable[[], None]] = []
        self._saved: Inventory | None = None
        self._unsaved_said = False

    @property
    def inventory(self) -> Inventory:
        return self._inventory

    @property
    def fresh(self) -> bool:
        """Is the database there, and the snapshot following it?"""
        return self._stale_since is None

    @property
    def stale_since(self) -> int | None:
        """UTC microseconds since when the snapshot follows no database; None while it does."""
        return self._stale_since

    def on_change(self, call: Callable[[Inventory], None]) -> None:
        """Call after each replacement of the snapshot, in the feed's thread; must be quick."""
        self._on_change.append(call)

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call whenever anything was committed (an event, a job), in the feed's thread; spurious calls happen."""
        self._on_commit.append(call)

    def start(self) -> None:
        """Read the database, or the snapshot file when it is away, then follow it in a thread."""
        try:
            self._take(self._store.inventory(files=self._files))
            self._follow_again()
        except StoreUnavailable as error:
            self._database_away(error)
            self._load_file()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the thread and leave the latest snapshot on disk."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._save()

    def wait_beyond(self, seq: int, timeout: float) -> bool:
        """Wait until the snapshot shows change ``seq`` (a transaction's ``seq``); False after ``timeout`` s."""
        with self._moved:
            return self._moved.wait_for(lambda: self._inventory.seq >= seq, timeout)

    def _follow(self) -> None:
        first, longest = _RECONNECT_SECONDS
        pause = first
        while not self._stop.is_set():
            try:
                with closing(rings(self._store.engine, self._stop)) as bell:
                    for seq in bell:
                        if seq is None or seq != self._inventory.seq or not self._loaded:
                            self._take(self._read())
                        self._follow_again()
                        pause = first
                        for call in self._on_commit:
                            self._tell(call)
            except StoreUnavailable as error:
                self._database_away(error)
            except Exception:
                # A snapshot that stops moving without a word is worse than a noisy one.
                log.exception("change feed failed, goes on")
            self._stop.wait(pause)
            pause = min(pause * 2, longest)

    def _keep_on_disk(self) -> None:
        pause = _SAVE_EVERY_SECONDS
        while not self._stop.wait(pause):
            started = time.monotonic()
            self._save()
            pause = max(_SAVE_EVERY_SECONDS, (time.monotonic() - started) * _SAVE_SHARE)

    def _read(self) -> Inventory:
        if not self._loaded:
            return self._store.inventory(files=self._files)
        return self._store.caught_up(self._inventory, files=self._files)

    def _take(self, inventory: Inventory) -> None:
        # From now on differences do; a snapshot from a file may be of another database's life.
        self._loaded = True
        if inventory is self._inventory:
            return
        with self._moved:
            self._inventory = inventory
            self._moved.notify_all()
        for call in self._on_change:
            self._tell(partial(call, inventory))

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            log.exception("a listener to the change feed failed")

    def _follow_again(self) -> None:
        if self._stale_since is not None:
            log.info("snapshot follows the database", seq=self._inventory.seq)
            self._stale_since, self._away_said = None, False

    def _database_away(self, error: StoreUnavailable) -> None:
        if not self._away_said:
            self._away_said = True
            log.warning("database away, serving the last snapshot", error=str(error), seq=self._inventory.seq)
        if self._stale_since is None:
            self._stale_since = utc_microseconds()

    def _load_file(self) -> None:
        if self._snapshot_file is None:
            return
        try:
            inventory = read_snapshot(self._snapshot_file, files=self._files)
        except (OSError, ValueError) as error:
            log.warning("snapshot file cannot be used", error=str(error))
            return
        if inventory is not None:
            self._inventory = self._saved = inventory
            log.warning("serving the snapshot on disk", machines=len(inventory.machines), seq=inventory.seq)

    def _save(self) -> None:
        """Write the snapshot file if it is not what is served, and not what was read from it."""
        inventory = self._inventory
        if self._snapshot_file is None or not self._keep or not self._loaded or inventory is self._saved:
            return
        try:
            write_snapshot(self._snapshot_file, inventory)
            self._saved = inventory
            self._unsaved_said = False
        except OSError as error:
            # A full disk stays full for a while; once is enough.
            if not self._unsaved_said:
                self._unsaved_said = True
                log.warning("snapshot file not written", error=str(error))
