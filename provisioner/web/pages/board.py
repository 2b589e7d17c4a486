"""The board: which machines are shown, in which order, and what the strip above them says.

Pure: an inventory, what was read beside it, and ``now`` (UTC microseconds) become frozen rows. Which rows are
shown and how they are counted comes from the inventory alone, so that 5,000 machines cost no query.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlencode
from uuid import UUID

from provisioner.domain.events import Event
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import PHASES, Machine, Phase, Slot
from provisioner.domain.progress import moving, since_life
from provisioner.domain.records import PhaseRecord
from provisioner.domain.spoken import span
from provisioner.web.pages.train import Segment, condition, train

PAGE = 200
"""Rows a page: what a browser lays out well within a second."""

CONDITIONS = (
    "failed",
    "stuck",
    "quarantined",
    "installing",
    "armed",
    "installed",
    "active",
    "ready",
    "new",
    "retired",
)
"""Every word for a machine, in the order of the chips: those that need a person first."""

_FIRST = {"failed": 0, "stuck": 1, "quarantined": 2}


@dataclass(frozen=True, slots=True)
class View:
    """What the address bar asks for."""

    state: str = ""
    q: str = ""
    page: int = 1

    def url(self, path: str = "/", **changes: str | int) -> str:
        """The address of this view with changes; what is default stays out of it."""
        wanted = {"state": self.state, "q": self.q, "page": self.page} | changes
        query = urlencode({k: v for k, v in wanted.items() if v and (k, v) != ("page", 1)})
        return f"{path}?{query}" if query else path


@dataclass(frozen=True, slots=True)
class Chip:
    """A count that filters. ``on``: the filter is set, and ``href`` takes it away."""

    word: str
    count: int
    on: bool
    href: str


@dataclass(frozen=True, slots=True)
class Slowest:
    """Of those under way the one that is silent longest beyond what is usual in its phase."""

    name: str
    phase: Phase
    quiet: str
    usual: str
    """The fleet's median in that phase; empty while none is known."""


@dataclass(frozen=True, slots=True)
class Strip:
    """The line above the table."""

    total: int
    chips: tuple[Chip, ...]
    slowest: Slowest | None = None
    estimate: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One machine, as the table shows it. Equal rows look equal: only a changed one is sent."""

    id: UUID
    name: str
    place: str
    ip: str
    mac: str
    bmc: str
    role: str
    condition: str
    reason: str
    train: tuple[Segment, ...]
    event: str
    at: int


@dataclass(frozen=True, slots=True)
class Readings:
    """What storage adds to the snapshot for the rows shown. ``available`` False: the database is away."""

    phases: Mapping[UUID, Sequence[PhaseRecord]] = field(default_factory=dict)
    """By install."""
    events: Mapping[UUID, Event] = field(default_factory=dict)
    """The last one, by machine."""
    bmcs: Mapping[UUID, str] = field(default_factory=dict)
    """Addresses, by BMC."""
    usual: Mapping[Phase, int] = field(default_factory=dict)
    """The fleet's medians."""
    cursor: int = 0
    """Id of the newest event."""
    available: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """The machines of one page of one view, in order, and how many there are."""

    machines: tuple[Machine, ...]
    matching: int
    pages: int


def select(inventory: Inventory, view: View, now: int) -> Selection:
    """Filter, sort (those that need a person first, then as people walk along racks) and cut out the page."""
    found = [
        (condition(machine, now), machine)
        for machine in inventory.machines.values()
        if not view.q or _matches(machine, view.q)
    ]
    wanted = [(word, machine) for word, machine in found if not view.state or word == view.state]
    wanted.sort(key=lambda pair: (_FIRST.get(pair[0], 3), *_walk(pair[1])))
    pages = max(1, -(-len(wanted) // PAGE))
    start = (min(max(1, view.page), pages) - 1) * PAGE
    return Selection(tuple(machine for _, machine in wanted[start : start + PAGE]), len(wanted), pages)


def strip(inventory: Inventory, view: View, usual: Mapping[Phase, int], now: int) -> Strip:
    """Counts by condition, the slowest, and when the last one under way should be done."""
    counts = Counter(condition(machine, now) for machine in inventory.machines.values())
    chips = tuple(
        Chip(word, counts[word], view.state == word, view.url(state="" if view.state == word else word, page=1))
        for word in CONDITIONS
        if counts[word] or view.state == word
    )
    under_way = [machine for machine in inventory.machines.values() if moving(machine)]
    return Strip(len(inventory.machines), chips, _slowest(under_way, usual, now), _estimate(under_way, usual, now))


def rows(machines: Iterable[Machine], readings: Readings, now: int) -> tuple[Row, ...]:
    """The table's lines, in the order given."""
    return tuple(_row(machine, readings, now) for machine in machines)


def place(slot: Slot) -> str:
    """Where it sits, short: ``r12 u07``, ``ch3 b14``; empty for one without a stated place."""
    parts = (
        slot.rack,
        slot.chassis,
        f"u{slot.unit:02}" if slot.unit is not None else "",
        f"b{slot.blade:02}" if slot.blade is not None else "",
    )
    return " ".join(part for part in parts if part)


def _row(machine: Machine, readings: Readings, now: int) -> Row:
    event = readings.events.get(machine.id)
    records = readings.phases.get(machine.install.id, ()) if machine.install else ()
    # The state's own reason stands in for events that are gone or cannot be read now.
    newest = event if event and event.at >= machine.state_at else None
    return Row(
        id=machine.id,
        name=machine.name,
        place=place(machine.slot),
        ip=str(machine.ip or ""),
        mac=str(machine.boot_mac or ""),
        bmc=readings.bmcs.get(machine.bmc_id, "") if machine.bmc_id else "",
        role=machine.slot.role,
        condition=condition(machine, now),
        reason=machine.state_reason,
        train=train(machine, records, readings.usual, now),
        event=newest.message if newest else machine.state_reason or (event.message if event else ""),
        at=max(event.at if event else 0, machine.state_at),
    )


def _slowest(under_way: Sequence[Machine], usual: Mapping[Phase, int], now: int) -> Slowest | None:
    beyond = max(
        (
            (since_life(m, now) - usual.get(m.install.phase, 0), since_life(m, now), m.name, m.install.phase)
            for m in under_way
            if m.install and m.install.phase
        ),
        default=None,
    )
    if beyond is None:
        return None
    _, quiet, name, phase = beyond
    return Slowest(name, phase, span(quiet), span(usual[phase]) if usual.get(phase) else "")


def _estimate(under_way: Sequence[Machine], usual: Mapping[Phase, int], now: int) -> str:
    """From the fleet's medians; empty when there are none, or when nobody who moves is left."""
    left = [
        sum(usual.get(phase, 0) for phase in PHASES[PHASES.index(m.install.phase) :]) - since_life(m, now)
        for m in under_way
        if m.install and m.install.phase and condition(m, now) != "stuck"
    ]
    return span(max([0, *left])) if left and usual else ""


def _matches(machine: Machine, q: str) -> bool:
    words = q.lower().split()
    text = " ".join(
        (
            machine.name,
            place(machine.slot),
            machine.slot.role,
            machine.slot.cluster,
            machine.serial,
            machine.vendor,
            machine.model,
            *(str(address.ip) for address in machine.addresses),
            *(f"{mac} {mac.hexhyp} {mac.hex()}" for mac in machine.macs),
            *(f"{key}={value}" for key, value in machine.labels.items()),
        )
    ).lower()
    return all(word in text for word in words)


def _walk(machine: Machine) -> tuple[object, ...]:
    slot = machine.slot
    return (_natural(slot.rack), _natural(slot.chassis), slot.unit or 0, slot.blade or 0, _natural(slot.name))


@lru_cache(maxsize=32_768)
def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """w2 before w10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text) if part
    )
