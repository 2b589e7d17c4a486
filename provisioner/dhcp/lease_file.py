"""Leases on disk: a SQLite file of their own, so that an import of 10,000 rows delays no ACK.

``LeaseWriter`` writes in a thread what the packet loop hands it, everything that waits in one transaction (WAL,
synchronous=FULL: on disk when ``commit`` returns), and tells the loop which of it is durable.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import chain
from pathlib import Path
from typing import Self

import structlog

from provisioner.dhcp.leases import SECOND, Lease, LeaseState
from provisioner.domain.errors import Refused
from provisioner.domain.mac import Mac

log = structlog.get_logger(__name__)

_BUSY_SECONDS = 2.0
"""How long a commit waits for a file that somebody else has locked. Clients ask again within about four."""
_WAITING = 10_000
"""Leases that may wait for the disk; more are refused, since their clients have given up by then."""
_APART, _APART_AT_MOST = 0.0005, 0.010
"""Seconds from one commit's start to the next one's, for each lease of the first; and at most. Each commit costs
the packet loop Python's lock a few times; on a quick disk every other lease would have one of its own. Up to 2,000
leases a second nothing waits longer for this, beyond that they come in groups."""
_SET_BACK = 60 * SECOND
"""A clock that is less behind was corrected, or the host of a shared disk has another one."""
_TRY_AGAIN = 2.0
"""Seconds after a commit that failed until the file is tried without anybody asking for an address."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (
    address INTEGER PRIMARY KEY,
    mac BLOB NOT NULL,
    state INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT
"""
_PUT = "INSERT OR REPLACE INTO leases (address, mac, state, until) VALUES "
_ROW = "(?, ?, ?, ?)"
_TOGETHER = 64
"""Rows of one statement. Each execution gives Python's lock away and waits for it again: row by row the packet loop
and the writer spent more time on that than on their work."""


class NotWritten(Exception):
    """The leases are not on disk; ``str()`` says why."""


class LeaseFile:
    """One open lease file. Used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, written: int = 0) -> None:
        """``written``: when somebody last wrote to it, UTC microseconds."""
        self._connection = connection
        self._written = written

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file. Raises Refused, naming it, when it is no lease file, damaged, or cannot be
        written."""
        written = max(_changed(path), _changed(path.with_name(path.name + "-wal")))
        try:
            connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                # A page that a disk has lost shows when it is read; some 20 ms for 60,000 leases.
                if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise sqlite3.DatabaseError(found.splitlines()[-1])
            except sqlite3.Error:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise Refused(
                f"lease file {path} cannot be used: {error}",
                "free space or mend its rights; if it is damaged, move it away with what begins with its name: who "
                "renews is recorded anew",
            ) from error
        return cls(connection, written)

    def load(self, now: int | None = None) -> list[Lease]:
        """All leases. Rows that nobody could have written are left out.

        ``now``: what the clock says. One that is behind the last write is wrong, as it is after a start with an
        empty battery: by it the leases would last for years. They are given what they had left then.
        """
        behind = self._written - now if now is not None and self._written - now > _SET_BACK else 0
        leases = [lease._replace(until=lease.until - behind) for lease in self._rows()]
        if behind and leases:
            log.warning("dhcp: the clock is behind the lease file", seconds=behind // SECOND)
            # What is written from here on makes the file look as old as the clock says.
            with suppress(NotWritten):
                self.write(leases)
        return leases

    def _rows(self) -> list[Lease]:
        rows = self._connection.execute("SELECT address, mac, state, until FROM leases").fetchall()
        known = frozenset(LeaseState)
        return [
            Lease(IPv4Address(address), Mac(mac), LeaseState(state), until)
            for address, mac, state, until in rows
            if state in known and len(mac) == 6 and 0 <= address < 1 << 32
        ]

    def write(self, leases: Iterable[Lease]) -> None:
        """Put these on disk, all or none. Raises NotWritten."""
        # The last of several leases of one address is the one that counts.
        last = {int(lease.address): lease for lease in leases}
        rows = [(number, bytes(lease.mac), int(lease.state), lease.until) for number, lease in last.items()]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for start in range(0, len(rows), _TOGETHER):
                some = rows[start : start + _TOGETHER]
                self._connection.execute(_PUT + ", ".join([_ROW] * len(some)), [*chain.from_iterable(some)])
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise NotWritten(str(error)) from error

    def try_out(self) -> None:
        """Write something that changes nothing, to see whether leases could be. Raises NotWritten."""
        try:
            # The number is nobody's; to set it writes the file's first page.
            self._connection.execute("PRAGMA user_version = 0")
        except sqlite3.Error as error:
            raise NotWritten(str(error)) from error

    def close(self) -> None:
        self._connection.close()


def _changed(path: Path) -> int:
    """UTC microseconds; 0 for a file that is not there."""
    try:
        return path.stat().st_mtime_ns // 1000
    except OSError:
        return 0


class LeaseWriter:
    """Writes leases in groups. ``wake`` is called from its thread when ``finished`` has something to tell.

    ``fault``: why the last commit failed; empty while leases can be written.
    """

    def __init__(self, file: LeaseFile, wake: Callable[[], None]) -> None:
        self._file = file
        self._wake = wake
        self._ready = threading.Condition()
        self._waiting: list[tuple[Sequence[Lease], object]] = []
        self._done: list[tuple[object, str]] = []
        self._closed = False
        self.fault = ""
        self._thread = threading.Thread(target=self._run, name="lease writer")
        self._thread.start()

    def submit(self, puts: Sequence[tuple[Sequence[Lease], object]]) -> bool:
        """Write these; ``finished`` returns the ticket of each. False when too many wait already."""
        with self._ready:
            if len(self._waiting) + len(puts) > _WAITING or self._closed:
                return False
            self._waiting += puts
            self._ready.notify()
        return True

    def finished(self) -> list[tuple[object, str]]:
        """Tickets since the last call, each with '' when its leases are on disk, else with the reason."""
        with self._ready:
            done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Write what waits, then close the file."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        due = 0.0
        while True:
            with self._ready:
                while not self._waiting and not self._closed:
                    if not self._ready.wait(_TRY_AGAIN if self.fault else None):
                        break
            if (early := due - time.monotonic()) > 0:
                time.sleep(early)
            with self._ready:
                group, self._waiting = self._waiting, []
                due = time.monotonic() + min(_APART * len(group), _APART_AT_MOST)
                ended = self._closed and not group
            if ended:
                return
            self.fault = self._written(group)
            if not group:
                continue
            with self._ready:
                self._done += [(ticket, self.fault) for _, ticket in group]
            self._wake()

    def _written(self, group: Sequence[tuple[Sequence[Lease], object]]) -> str:
        """Empty, or why not. Without leases the file is tried out."""
        try:
            if group:
                self._file.write(lease for leases, _ in group for lease in leases)
            else:
                self._file.try_out()
        except NotWritten as fault:
            return str(fault)
        except Exception as fault:
            # Who waits for these is told; without this thread nobody would be, ever again.
            log.exception("dhcp: leases could not be written")
            return repr(fault)
        return ""
