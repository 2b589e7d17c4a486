"""Callbacks that came while the database was away: appended durably, replayed when it is back.

JSON lines in one file, written by one process (web). An entry counts once ``append`` has returned.
"""

import errno
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from provisioner.domain.errors import Refused

log = structlog.get_logger()
MOST_BYTES = 256 << 20
"""A journal's size after which nothing more is taken: a thousand machines' logs, and no full disk."""


class Journal:
    """Implements ``ports.Journal`` on ``path``; ``path``.replaying holds what a replay has taken over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = path.with_name(path.name + ".replaying")
        self._bad = path.with_name(path.name + ".rejected")
        self._appending = threading.Lock()
        self._replaying = threading.Lock()

    def append(self, entry: Mapping[str, object]) -> None:
        """Returns once the entry is on disk. Raises OSError when it cannot be kept."""
        with self._appending:
            if self._path.exists() and self._path.stat().st_size > MOST_BYTES:
                raise OSError(errno.EFBIG, f"the journal holds {MOST_BYTES >> 20} MiB", str(self._path))
            _append(self._path, json.dumps(entry))

    @property
    def waiting(self) -> bool:
        """Is there anything to replay?"""
        return self._path.exists() or self._taken.exists()

    def replay(self, apply: Callable[[dict[str, Any]], None]) -> int:
        """Apply all entries in the order of their coming and forget them; returns how many.

        ``apply`` may meet an entry twice (a crash in between), so it must be idempotent. Whatever it raises but
        Refused, ValueError and KeyError stops the replay and keeps the entries. An entry with those three can
        never be applied: it is logged and kept in ``path``.rejected, as is a line torn by a crash.
        """
        applied = 0
        with self._replaying:
            while self._take():
                for line in self._lines():
                    try:
                        apply(json.loads(line))
                        applied += 1
                    except (Refused, ValueError, KeyError) as error:
                        log.warning("journal entry not applied", reason=str(error), kept_in=str(self._bad))
                        _append(self._bad, line)
                self._taken.unlink()
                _sync_folder(self._taken)
        return applied

    def _take(self) -> bool:
        """Move the journal aside, so that entries may come during a replay. An interrupted replay comes first."""
        with self._appending:
            if not self._taken.exists():
                if not self._path.exists():
                    return False
                self._path.rename(self._taken)
                _sync_folder(self._taken)
        return True

    def _lines(self) -> Iterator[str]:
        for line in self._taken.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip():
                yield line


def _append(path: Path, line: str) -> None:
    """One line, durably; a line that an earlier crash has torn is ended first, so that it spoils only itself."""
    new = not path.exists()
    with path.open("a+b") as file:
        os.fchmod(file.fileno(), 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
