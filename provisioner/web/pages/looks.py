"""What open pages share: whoever looks at the same machines at nearly the same time sees the same board.

A look at 5,000 machines costs 40 ms of processor, four times a second for each page while machines report. One look
for all of them costs that once, however many people watch.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from provisioner.web.pages.board import View
from provisioner.web.pages.desk import Board, Desk

FRESH = 0.2
"""Seconds for which a board is given to other pages, too: shorter than a page waits between two looks."""

VIEWS = 20
"""Of so many views, those asked for last, a board is kept: each is about a megabyte, and any search is one."""


@dataclass(slots=True)
class _Look:
    board: Board
    at: float


class Looks:
    """Threads may share this. ``fresh``: see ``FRESH``; 0: every look is a new one."""

    def __init__(self, desk: Desk, fresh: float = FRESH, watch: Callable[[], float] = time.monotonic) -> None:
        self.desk = desk
        self._fresh = fresh
        self._watch = watch
        self._looks: OrderedDict[View, _Look] = OrderedDict()
        self._looking = threading.Lock()

    def board(self, view: View, cursor: int = 0) -> Board:
        """Blocking. No older than the event ``cursor``; its inventory and readings say how new it is."""
        with self._looking:
            last = self._looks.pop(view, None)
            if last is None or last.board.readings.cursor < cursor or self._watch() - last.at >= self._fresh:
                # What was last known stands in while the database is away.
                board = self.desk.board(view, last.board.readings if last else None)
                last = _Look(board, self._watch())
            self._looks[view] = last
            if len(self._looks) > VIEWS:
                self._looks.popitem(last=False)
            return last.board
