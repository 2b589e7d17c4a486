"""Who may ask which BMC now: one operation a BMC at a time, a bounded number in all (fault-07, fault-08)."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from provisioner.domain.errors import BmcError

_QUEUE_SECONDS = 180.0
"""How long a call waits for its turn behind others."""


@dataclass(slots=True)
class _Turn:
    """Whose turn it is at one BMC, and when (monotonic) the last operation ended."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: float = -math.inf


class Turns:
    """Threads may share it."""

    def __init__(self, size: int, between: float) -> None:
        """``size``: operations at once. ``between``: seconds a BMC is left alone between two of them."""
        self._between = between
        self._places = threading.BoundedSemaphore(size)
        self._guard = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def at(self, address: str, port: int) -> Iterator[None]:
        """Wait for this BMC and for a place; hold both meanwhile. Raises BmcError."""
        with self._guard:
            turn = self._turns.setdefault(f"{address} {port}", _Turn())
        if not turn.lock.acquire(timeout=_QUEUE_SECONDS):
            raise BmcError("unreachable", f"BMC {address} {port} is busy with other operations", "try again later")
        try:
            time.sleep(max(0.0, turn.ended + self._between - time.monotonic()))
            with self._place(address):
                yield
        finally:
            turn.ended = time.monotonic()
            turn.lock.release()

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        if not self._places.acquire(timeout=_QUEUE_SECONDS):
            raise BmcError(
                "unreachable",
                f"BMC {address} was not asked: too many others are being asked",
                "try again when the job before ends",
            )
        try:
            yield
        finally:
            self._places.release()
