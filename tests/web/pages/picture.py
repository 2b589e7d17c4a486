"""The README's picture: the board of a small fleet, drawn from what the page shows of it.

python -m tests.web.pages.picture      writes docs/board.svg
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from provisioner.domain.machine import Machine
from provisioner.domain.spoken import span
from provisioner.web.pages.train import Segment, condition, medians, train
from tests.web.pages.fleet import history, night

FILE = Path(__file__).parents[3] / "docs" / "board.svg"
COUNT = 12
_NOW = 1_800_000_000_000_000
_WIDTH, _ROW = 960, 32
_TRAIN, _ROOM = 316, 300
"""Where the trains begin, and how long one is."""
_FILL = {
    "done": "#7d8790", "passed": "#7d8790", "current": "#dbe9f7", "stuck": "#e3a008", "failed": "#b3241b",
    "hollow": "none",
}  # fmt: skip
_LINES = {"hollow": "#b5bbc0", "current": "#0b5fae"}
_INK = {"current": "#16191c", "stuck": "#241a00", "failed": "#ffffff"}
_STATE = {"failed": "#b3241b", "stuck": "#8a5200", "installing": "#0b5fae", "armed": "#0b5fae"}
_GROUND = {"failed": "#fbe6e4", "stuck": "#fdf0d2"}


@dataclass(frozen=True)
class Line:
    """One machine, as its row tells it."""

    name: str
    ip: str
    state: str
    train: tuple[Segment, ...]
    event: str
    age: str


def lines(fleet: Sequence[Machine], now: int) -> list[Line]:
    """What the page shows of them (a test in a browser compares)."""
    histories = [history(machine, number) for number, machine in enumerate(fleet)]
    usual = medians(records for records, _ in histories if records)
    return [
        Line(
            machine.name,
            str(machine.ip),
            condition(machine, now),
            train(machine, records, usual, now),
            events[-1].message if events else machine.state_reason,
            span(now - machine.state_at),
        )
        for machine, (records, events) in zip(fleet, histories, strict=True)
    ]


def picture() -> str:
    """The lines, drawn."""
    shown = lines(list(night(COUNT, _NOW)), _NOW)
    height = _ROW * len(shown) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        'font-size="13" fill="#16191c">',
        "<title>The board: twelve machines, one failed, one stuck</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, line in enumerate(shown):
        top = 8 + _ROW * number
        base = top + 21
        parts += [
            f'<rect y="{top}" width="{_WIDTH}" height="{_ROW}" fill="{_GROUND.get(line.state, "none")}"/>',
            f'<text x="16" y="{base}" font-weight="bold">{escape(line.name)}</text>',
            f'<text x="80" y="{base}" font-family="monospace">{line.ip}</text>',
            f'<text x="200" y="{base}" fill="{_STATE.get(line.state, "#1a7540")}">{line.state}</text>',
            *_train(line.train, top + 8, line.state),
            f'<text x="636" y="{base}">{escape(_short(line.event))}</text>',
            f'<text x="944" y="{base}" text-anchor="end" fill="#565d64">{line.age}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _train(segments: tuple[Segment, ...], top: int, state: str) -> list[str]:
    labelled = {index: 12 + 7.5 * len(segment.label) for index, segment in enumerate(segments) if segment.label}
    shares = sum(segment.width for index, segment in enumerate(segments) if index not in labelled) or 1
    free = _ROOM - sum(labelled.values()) - 2 * len(segments)
    drawn, left = [], float(_TRAIN)
    for index, segment in enumerate(segments):
        wide = labelled.get(index) or free * segment.width / shares
        fill = "#4f9a70" if state in ("active", "installed") and segment.kind == "done" else _FILL[segment.kind]
        line = _LINES.get(segment.kind)
        edge = f' stroke="{line}"' if line else ""
        # Those that have arrived step back, as on the page.
        y, height = (top + 6, 4) if state == "active" else (top, 16)
        drawn.append(
            f'<rect x="{left:.1f}" y="{y}" width="{wide:.1f}" height="{height}" rx="2" fill="{fill}"{edge}/>'
        )
        if segment.kind == "current":
            far = wide * (1 if segment.percent is None else segment.percent / 100)
            drawn.append(f'<rect x="{left:.1f}" y="{top + 13}" width="{far:.1f}" height="3" fill="{line}"/>')
        if segment.label:
            drawn.append(
                f'<text x="{left + wide / 2:.1f}" y="{top + 12}" font-size="12" font-weight="bold" '
                f'text-anchor="middle" fill="{_INK.get(segment.kind, "#16191c")}">{escape(segment.label)}</text>'
            )
        left += wide + 2
    return drawn


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= 38 else f"{sentence[:37].rstrip()}…"


if __name__ == "__main__":
    FILE.write_text(picture())
    sys.stdout.write(f"{FILE}\n")
