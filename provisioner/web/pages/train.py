"""The phase train: how far an install is, in eleven segments, and whether it stands still."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low

from provisioner.domain.machine import PHASES, Machine, Phase, State
from provisioner.domain.progress import since_life, stuck
from provisioner.domain.records import PhaseRecord
from provisioner.domain.spoken import SECOND, clock, span

_NOTICEABLE = 3 * SECOND
"""Shorter differences from the median say nothing about a machine."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One phase of one install. ``kind``: done, passed (no sign of it was seen), current, stuck, failed, hollow."""

    phase: Phase
    kind: str
    title: str
    label: str = ""
    """On the segment where the train is: its phase, and percent or minutes."""
    percent: int | None = None
    width: int = 2
    """2: took the fleet's median or is still to come; 1: much faster, 3 and 5: slower."""


def condition(machine: Machine, now: int) -> str:
    """The one word for a machine: its state, or ``stuck``."""
    return "stuck" if stuck(machine, now) else machine.state.value


def durations(records: Iterable[PhaseRecord]) -> dict[Phase, int]:
    """How long each phase took until the next one was seen; a phase that still runs is not in it."""
    ordered = sorted(records, key=lambda record: PHASES.index(record.phase))
    # A second attempt comes by the early phases again, later than the late ones: such pairs tell nothing.
    return {
        here.phase: after.first_at - here.first_at
        for here, after in pairwise(ordered)
        if after.first_at >= here.first_at
    }


def medians(installs: Iterable[Sequence[PhaseRecord]]) -> dict[Phase, int]:
    """The fleet's usual time in each phase."""
    taken: defaultdict[Phase, list[int]] = defaultdict(list)
    for records in installs:
        for phase, duration in durations(records).items():
            taken[phase].append(duration)
    return {phase: median_low(values) for phase, values in taken.items()}


def train(
    machine: Machine, records: Sequence[PhaseRecord], usual: Mapping[Phase, int], now: int
) -> tuple[Segment, ...]:
    """The segments of the latest install; none for a machine that has no install to speak of."""
    install = machine.install
    if install is None or install.outcome in ("disarmed", "expired", "released") or machine.state is State.RETIRED:
        return ()
    seen = {record.phase: record for record in records}
    took = durations(records)
    reached = PHASES.index(install.phase) if install.phase else -1
    if machine.state is State.ACTIVE:
        reached = len(PHASES)
    elif machine.state is State.FAILED:
        reached = max(reached, 0)
    return tuple(
        _behind(phase, seen.get(phase), took.get(phase), usual.get(phase))
        if index < reached
        else _at(machine, phase, seen.get(phase), now)
        if index == reached
        else Segment(phase, "hollow", f"{phase}: not yet")
        for index, phase in enumerate(PHASES)
    )


def summary(segments: Sequence[Segment]) -> str:
    """The whole train in words, for those who hear it."""
    behind = sum(segment.kind in ("done", "passed") for segment in segments)
    here = next((segment.title for segment in segments if segment.label), "")
    return f"{behind} of {len(segments)} phases done{'; ' if here else ''}{here}"


def _behind(phase: Phase, record: PhaseRecord | None, took: int | None, usual: int | None) -> Segment:
    if record is None:
        return Segment(phase, "passed", f"{phase}: not seen on its way")
    if took is None:
        return Segment(phase, "done", f"{phase}: {clock(record.first_at)} UTC")
    than = f", usually {span(usual)}" if usual else ""
    title = f"{phase}: {clock(record.first_at)} UTC, took {span(took)}{than}"
    return Segment(phase, "done", title, width=_width(took, usual))


def _at(machine: Machine, phase: Phase, record: PhaseRecord | None, now: int) -> Segment:
    quiet = span(since_life(machine, now))
    began = f" since {clock(record.first_at)} UTC" if record else ""
    if machine.state is State.FAILED:
        return Segment(phase, "failed", f"{phase}: failed. {machine.state_reason}", f"✕ {phase}")
    percent = machine.install.percent if machine.install else None
    if percent is not None:
        percent = min(100, max(0, percent))
    if stuck(machine, now):
        reached = f" at {percent} %" if percent is not None else ""
        return Segment(phase, "stuck", f"{phase}{began}: no sign of life for {quiet}{reached}", f"{phase} {quiet}")
    if percent is None:
        return Segment(phase, "current", f"{phase}{began}: under way", phase.value)
    return Segment(phase, "current", f"{phase}{began}: {percent} %", f"{phase} {percent} %", percent)


def _width(took: int, usual: int | None) -> int:
    if not usual or abs(took - usual) < _NOTICEABLE:
        return 2
    ratio = took / usual
    if ratio >= 3:
        return 5
    if ratio >= 1.5:
        return 3
    return 1 if ratio <= 0.5 else 2
