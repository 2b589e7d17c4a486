"""Bytes in all and bytes a second, by who got them. Pure: somebody else knows what time it is."""

from collections import Counter, deque

SAMPLES = 5
"""A rate is the mean over so many samples: a slow client's bytes come in bursts."""


class Meter:
    """Counts, and remembers how much of it was counted between the last few samples."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        """Bytes since the start, by label."""
        self._fresh: Counter[str] = Counter()
        self._samples: deque[tuple[float, Counter[str]]] = deque(maxlen=SAMPLES)

    def count(self, label: str, amount: int) -> None:
        """``amount``: bytes."""
        if amount > 0:
            self.total[label] += amount
            self._fresh[label] += amount

    def sample(self, seconds: float) -> None:
        """What was counted since the last sample took ``seconds``."""
        self._samples.append((seconds, self._fresh))
        self._fresh = Counter()

    def rates(self) -> dict[str, float]:
        """Bytes a second over the last samples; only of those who got something."""
        seconds = sum(each for each, _ in self._samples)
        moved: Counter[str] = Counter()
        for _, amounts in self._samples:
            moved.update(amounts)
        return {label: amount / seconds for label, amount in moved.items()} if seconds > 0 else {}

    @property
    def still(self) -> bool:
        """Nothing has moved for as long as is remembered."""
        return not self._fresh and not any(amounts for _, amounts in self._samples)
