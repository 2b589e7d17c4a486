"""Waiting after wrong passwords: each one doubles it, per name and source."""

import math
import threading
from collections import OrderedDict

from provisioner.domain.errors import Refused

FREE = 3
"""Slips of the finger that cost nothing."""
LONGEST = 300.0
"""Seconds. A longer wait would lock people out on behalf of an attacker."""
_REMEMBERED = 10_000


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

    def wait(self, name: str, source: str, now: float) -> float:
        """Seconds until this name may be tried again from this source; 0: now."""
        with self._lock:
            _, until = self._failures.get((name, source), (0, 0.0))
        return max(0.0, until - now)

    def failed(self, name: str, source: str, now: float) -> None:
        """Counts a wrong password: 1, 2, 4… seconds from the fourth on."""
        with self._lock:
            count = self._failures.pop((name, source), (0, 0.0))[0] + 1
            pause = 0.0 if count <= FREE else min(LONGEST, 2.0 ** (count - FREE - 1))
            self._failures[(name, source)] = (count, now + pause)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, source: str) -> None:
        with self._lock:
            self._failures.pop((name, source), None)
