"""What changed on an open page since it was last told: decided here, sent by ``stream``.

A page says what it has: the newest event it may know and the order of its rows (``Last-Event-ID``). Everything
after that is sent again, with some overlap; a row sent twice changes nothing.
"""

from dataclasses import dataclass
from uuid import UUID

from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from provisioner.domain.spoken import SECOND
from provisioner.web.pages import readings
from provisioner.web.pages.board import Row, Strip, View
from provisioner.web.pages.desk import Board, Desk, Drawer
from provisioner.web.pages.looks import Looks

OVERLAP = 200
"""Events sent again on connecting: an event is visible up to 200 ms before the snapshot shows what it did."""

MANY = 2_000
"""More events than this since the page was last told: all rows are sent."""

TIME_PASSES = 5 * SECOND
"""Machines become stuck without any event: the board is looked at again this often."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a page has: ``cursor`` (an event's id) and the order of its rows. Written ``1234.a0b1c2d3e4f5``."""

    cursor: int = 0
    order: str = ""

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Anything unreadable means: has nothing."""
        cursor, _, order = text.partition(".")
        return cls(int(cursor), order[:32]) if cursor.isdecimal() and len(cursor) < 19 else cls()

    def __str__(self) -> str:
        return f"{self.cursor}.{self.order}"


@dataclass(frozen=True, slots=True)
class BoardChange:
    """``rows`` to be swapped by id, or (``whole``) to replace all; ``strip`` None: unchanged."""

    board: Board
    rows: tuple[Row, ...]
    whole: bool
    strip: Strip | None
    begun: bool
    """The first machine came or the last one went: another page altogether."""


@dataclass(slots=True)
class BoardWatch:
    """One open machines page."""

    looks: Looks
    view: View
    position: Position
    _inventory: Inventory | None = None
    _looked_at: int = 0
    _last: Board | None = None

    def step(self) -> BoardChange | None:
        """What to tell the page now. Blocking; call it a few times a second."""
        parts = self.looks.desk.parts
        now = parts.clock()
        first = self._last is None
        touched, all_of_them = self._touched(first)
        waited = not 0 <= now - self._looked_at < TIME_PASSES
        if not (touched or all_of_them or waited or parts.snapshot.inventory is not self._inventory):
            return None
        before, after = self._last, self.looks.board(self.view, self.position.cursor if first else 0)
        # What is remembered is the board's own age, not what called for it: others may have looked a moment before
        # that, and then the next step looks again.
        self._last, self._inventory, self._looked_at = after, after.inventory, now
        whole = after.order != self.position.order
        read = after.readings
        self.position = Position(read.cursor if read.available else self.position.cursor, after.order)
        shown = {row.id: row for row in before.rows} if before else {}
        rows = tuple(
            row
            for row in after.rows
            if whole or all_of_them or (row.id in touched if first else shown.get(row.id) != row)
        )
        strip = after.strip if before is None or before.strip != after.strip else None
        begun = before is not None and bool(before.strip.total) != bool(after.strip.total)
        came_or_went = before is not None and _banners(before) != _banners(after)
        told = rows or whole or strip or begun or came_or_went
        return BoardChange(after, rows, whole, strip, begun) if told else None

    def _touched(self, first: bool) -> tuple[set[UUID], bool]:
        after = max(0, self.position.cursor - OVERLAP) if first else self.position.cursor
        try:
            return readings.touched(self.looks.desk.parts.store, after, MANY)
        except StoreUnavailable:
            return set(), False


def _banners(board: Board) -> tuple[object, ...]:
    """What stands above the machines."""
    return board.readings.available, board.rogues, board.lease_fault


@dataclass(frozen=True, slots=True)
class DrawerChange:
    """``acts``: the buttons differ from those the page has. ``drawer`` None: the machine is gone."""

    drawer: Drawer | None
    acts: bool = False


@dataclass(slots=True)
class DrawerWatch:
    """One open drawer; the ``order`` of its position is that of the buttons."""

    desk: Desk
    name: str
    position: Position
    _machine: Machine | None = None
    _looked_at: int = 0
    _last: Drawer | None = None

    def step(self) -> DrawerChange | None:
        """What to tell the page now. Blocking; call it a few times a second."""
        machine = self.desk.parts.snapshot.inventory.names.get(self.name)
        if machine is None:
            return DrawerChange(None)
        now = self.desk.parts.clock()
        waited = not 0 <= now - self._looked_at < TIME_PASSES
        if not waited and machine is self._machine and not self._news(machine):
            return None
        before, after = self._last, self.desk.drawer(machine)
        self._machine, self._looked_at, self._last = machine, now, after
        acts = after.acts_key != self.position.order
        self.position = Position(after.cursor, after.acts_key)
        return DrawerChange(after, acts) if before != after else None

    def _news(self, machine: Machine) -> bool:
        try:
            return readings.newest_of(self.desk.parts.store, machine) != self.position.cursor
        except StoreUnavailable:
            return False
