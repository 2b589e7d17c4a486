"""What a lab run shows: a live table on a terminal that can redraw, a line a step elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One machine as it stands."""

    name: str
    firmware: str
    role: str
    ip: str
    state: str
    phase: str
    percent: int | None
    seconds: float
    note: str = ""

    @property
    def step(self) -> str:
        """Phase and percent in words."""
        return f"{self.phase} {self.percent} %" if self.percent is not None and self.phase else self.phase


_STYLE = {"active": "green", "failed": "red", "quarantined": "red"}


class Board:
    """Use as a context manager; ``show`` as often as there is news, ``say`` for a sentence above the table."""

    def __init__(self, *, quiet_stdout: bool) -> None:
        """``quiet_stdout``: all of it goes to stderr, because stdout is for JSON."""
        self._console = Console(stderr=quiet_stdout, highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        # A serial console's TERM=dumb cannot move its cursor: a table would not be shown there at all.
        self._moves = self._console.is_terminal and not self._console.is_dumb_terminal
        self._told: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._moves:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, sentence: str) -> None:
        self._console.print(sentence, markup=False)

    def show(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        if self._moves:
            self._live.update(table(rows), refresh=True)
            return
        for row in rows:
            # Percents would make a line each: a phase is the step people follow in a log.
            told = f"{row.state} {row.phase}"
            if self._told.get(row.name) != told:
                self._told[row.name] = told
                self.say(f"{row.seconds:6.1f} s  {row.name:12} {row.firmware:9} {row.state:10} {row.phase}")

    def final(self, rows: Iterable[Row]) -> None:
        """The table that stays."""
        self._live.stop()
        self._console.print(table(rows))


def table(rows: Iterable[Row]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("MACHINE", "FIRMWARE", "ROLE", "ADDRESS", "STATE", "PHASE", "TIME"):
        made.add_column(column, justify="right" if column == "TIME" else "left", no_wrap=True)
    for row in rows:
        style = _STYLE.get(row.state, "")
        state = f"[{style}]{row.state}[/]" if style else row.state
        made.add_row(row.name, row.firmware, row.role, row.ip, state, row.step, f"{row.seconds:.0f} s")
    return made
