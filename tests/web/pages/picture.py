"""The README's picture: the board of a small fleet, drawn from the page's own trains.

python -m tests.web.pages.picture      writes docs/board.svg
"""

import sys
from html import escape
from pathlib import Path

from provisioner.domain.spoken import span
from provisioner.web.pages.train import Segment, condition, medians, train
from tests.web.pages.fleet import history, night

FILE = Path(__file__).parents[3] / "docs" / "board.svg"
_NOW = 1_800_000_000_000_000
_WIDTH, _ROW = 960, 32
_TRAIN, _ROOM = 316, 300
"""Where the trains begin, and how long one is."""
_FILL = {
    "done": "#7d8790", "passed": "#7d8790", "current": "#dbe9f7", "stuck": "#e3a008", "failed": "#b3241b",
    "hollow": "none",
}  # fmt: skip
_INK = {"current": "#16191c", "stuck": "#241a00", "failed": "#ffffff"}
_STATE = {"failed": "#b3241b", "stuck": "#8a5200", "installing": "#0b5fae", "armed": "#0b5fae"}
_GROUND = {"failed": "#fbe6e4", "stuck": "#fdf0d2"}


def picture() -> str:
    """One row a machine: name, address, state, train, last event, age."""
    fleet = list(night(12, _NOW))
    histories = {machine.id: history(machine, number) for number, machine in enumerate(fleet)}
    usual = medians(records for records, _ in histories.values() if records)
    height = _ROW * len(fleet) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        'font-size="13" fill="#16191c">',
        "<title>The board: twelve machines, one failed, one stuck</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, machine in enumerate(fleet):
        records, events = histories[machine.id]
        state = condition(machine, _NOW)
        last = events[-1].message if events else machine.state_reason
        top = 8 + _ROW * number
        line = top + 21
        parts += [
            f'<rect y="{top}" width="{_WIDTH}" height="{_ROW}" fill="{_GROUND.get(state, "none")}"/>',
            f'<text x="16" y="{line}" font-weight="bold">{escape(machine.name)}</text>',
            f'<text x="80" y="{line}" font-family="monospace">{machine.ip}</text>',
            f'<text x="200" y="{line}" fill="{_STATE.get(state, "#1a7540")}">{state}</text>',
            *_train(train(machine, records, usual, _NOW), top + 8, state),
            f'<text x="636" y="{line}">{escape(_short(last))}</text>',
            f'<text x="944" y="{line}" text-anchor="end" fill="#565d64">{span(_NOW - machine.state_at)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _train(segments: tuple[Segment, ...], top: int, state: str) -> list[str]:
    labelled = {index: 12 + 7 * len(segment.label) for index, segment in enumerate(segments) if segment.label}
    shares = sum(segment.width for index, segment in enumerate(segments) if index not in labelled) or 1
    free = _ROOM - sum(labelled.values()) - 2 * len(segments)
    drawn, left = [], float(_TRAIN)
    for index, segment in enumerate(segments):
        wide = labelled.get(index) or free * segment.width / shares
        fill = "#4f9a70" if state in ("active", "installed") and segment.kind == "done" else _FILL[segment.kind]
        edge = ' stroke="#c4c9ce"' if segment.kind == "hollow" else ""
        drawn.append(f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="16" rx="2" fill="{fill}"{edge}/>')
        if segment.label:
            drawn.append(
                f'<text x="{left + wide / 2:.1f}" y="{top + 12}" font-size="11" font-weight="bold" '
                f'text-anchor="middle" fill="{_INK.get(segment.kind, "#16191c")}">{escape(segment.label)}</text>'
            )
        left += wide + 2
    return drawn


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= 38 else f"{sentence[:37].rstrip()}…"


if __name__ == "__main__":
    FILE.write_text(picture())
    sys.stdout.write(f"{FILE}\n")
