"""How many bulk transfers run at once, and who is next."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """A cap with a fair queue: next is who has the least under way, and among equals who came first.

    A machine that opens fifty connections so has one transfer running before it has its second, like any other.
    """

    def __init__(self, at_once: int) -> None:
        self.running = 0
        self._at_once = at_once
        self._of: Counter[Hashable] = Counter()
        self._queue: list[tuple[Hashable, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """How many have asked and not been let in."""
        return len(self._queue)

    @asynccontextmanager
    async def turn(self, who: Hashable) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Cancelled while waiting: the place in the queue is given up."""
        if self.running < self._at_once:
            self._enter(who)
        else:
            await self._wait(who)
        try:
            yield
        finally:
            self._leave(who)

    async def _wait(self, who: Hashable) -> None:
        place = who, asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place[1]
        except asyncio.CancelledError:
            if place in self._queue:
                self._queue.remove(place)
            else:
                self._leave(who)  # It was let in, and went away before it noticed.
            raise

    def _enter(self, who: Hashable) -> None:
        self.running += 1
        self._of[who] += 1

    def _leave(self, who: Hashable) -> None:
        self.running -= 1
        self._of[who] -= 1
        if not self._of[who]:
            del self._of[who]
        if self._queue:
            # min() takes the first among equals: the order in which they came.
            place = min(self._queue, key=lambda each: self._of[each[0]])
            self._queue.remove(place)
            self._enter(place[0])
            place[1].set_result(None)
