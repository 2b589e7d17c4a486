"""Waiting after wrong passwords: each one doubles it, per name and source."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.domain.errors import NotAdmitted, Refused

FREE = 3
"""Slips of the finger that cost nothing."""
LONGEST = 300.0
"""Seconds. A longer wait would lock people out on behalf of an attacker."""
_REMEMBERED = 10_000
_LONGEST_NAME = 64
"""Of a name that is remembered: nobody's is longer, and ten thousand of 64 KiB would fill the memory."""


class TooManyAttempts(Refused):
    """Wrong passwords before; ``seconds`` to wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = math.ceil(seconds)
        super().__init__(f"too many wrong passwords; wait {self.seconds} s", "then try again")


class Backoff:
    """In memory, bounded, thread-safe. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def attempt(self, name: str, source: str, now: float) -> Iterator[None]:
        """Around the look at a password, which raises NotAdmitted for a wrong one.

        It counts as wrong until it turns out right: looking takes a tenth of a second, and of many that come at
        once all would be free. From the fourth on each costs 1, 2, 4… seconds. Raises TooManyAttempts.
        """
        key = name[:_LONGEST_NAME], source
        with self._lock:
            count, until = self._failures.pop(key, (0, 0.0))
            waits = until > now
            if not waits:
                count += 1
                until = now + (0.0 if count <= FREE else min(LONGEST, 2.0 ** (count - FREE - 1)))
            self._failures[key] = (count, until)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)
        if waits:
            raise TooManyAttempts(until - now)
        try:
            yield
        except NotAdmitted:
            raise
        except BaseException:
            # Nobody looked at it: the database was away.
            self._forget(key, count - 1)
            raise
        self._forget(key, 0)

    def _forget(self, key: tuple[str, str], left: int) -> None:
        with self._lock:
            self._failures.pop(key, None)
            if left:
                self._failures[key] = (left, 0.0)
