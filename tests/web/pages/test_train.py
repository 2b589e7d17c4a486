"""The phase train and the one word for a machine, as tables."""

from dataclasses import replace
from uuid import uuid4

import pytest

from provisioner.domain.machine import PHASES, Machine, Phase, State
from provisioner.domain.progress import QUIET
from provisioner.domain.records import PhaseRecord
from provisioner.web.pages.train import condition, durations, medians, summary, train
from tests.web.pages.fleet import MINUTE, SECOND, bare, ended, installing

NOW = 1_700_000_000 * SECOND


def kinds(machine: Machine, *seen: Phase) -> str:
    """One letter a segment: d(one) p(assed) c(urrent) s(tuck) f(ailed) h(ollow)."""
    records = [PhaseRecord(uuid4(), phase, NOW, NOW) for phase in seen]
    return "".join(segment.kind[0] for segment in train(machine, records, {}, NOW))


@pytest.mark.parametrize(
    ("machine", "seen", "expected"),
    [
        (bare("w1"), (), ""),
        (installing(bare("w1"), None, quiet=MINUTE, now=NOW), (), "h" * 11),
        (installing(bare("w1"), Phase.FIRMWARE, quiet=SECOND, now=NOW), PHASES[:1], "c" + "h" * 10),
        (installing(bare("w1"), Phase.DISK, quiet=SECOND, now=NOW), PHASES[:5], "dddddc" + "h" * 5),
        (installing(bare("w1"), Phase.DISK, quiet=SECOND, now=NOW), PHASES[2:5], "ppdddc" + "h" * 5),
        (installing(bare("w1"), Phase.DISK, quiet=20 * MINUTE, now=NOW), PHASES[:5], "ddddds" + "h" * 5),
        (ended(bare("w1"), State.FAILED, Phase.IMAGE, "no space", at=NOW), PHASES[:6], "ddddddf" + "h" * 4),
        (ended(bare("w1"), State.INSTALLED, Phase.REBOOT, "", at=NOW), PHASES[:9], "dddddddddch"),
        (ended(bare("w1"), State.ACTIVE, Phase.ACTIVE, "", at=NOW), PHASES, "d" * 11),
        (replace(ended(bare("w1"), State.ACTIVE, Phase.ACTIVE, "", at=NOW), state=State.RETIRED), PHASES, ""),
    ],
    ids=[
        *("never armed", "armed", "first packet", "disk", "loader not seen", "stuck", "failed"),
        *("installed", "active", "retired"),
    ],
)
def test_the_train_shows_how_far_the_install_is(machine: Machine, seen: tuple[Phase, ...], expected: str) -> None:
    assert kinds(machine, *seen) == expected


@pytest.mark.parametrize("phase", QUIET)
def test_a_machine_is_stuck_when_its_phase_has_been_silent_for_too_long(phase: Phase) -> None:
    machine = installing(bare("w1"), phase, quiet=0, now=NOW)
    if phase is Phase.REBOOT:
        machine = ended(bare("w1"), State.INSTALLED, phase, "", at=NOW)
    assert condition(machine, NOW + QUIET[phase]) == machine.state.value
    assert condition(machine, NOW + QUIET[phase] + SECOND) == "stuck"


@pytest.mark.parametrize(
    "machine",
    [
        bare("w1"),
        installing(bare("w1"), None, quiet=600 * MINUTE, now=NOW),
        ended(bare("w1"), State.FAILED, Phase.DISK, "", at=NOW - 600 * MINUTE),
        ended(bare("w1"), State.ACTIVE, Phase.ACTIVE, "", at=NOW - 600 * MINUTE),
        bare("w1", state=State.INSTALLED),
    ],
    ids=["ready", "armed but not powered on", "failed", "active", "imported as installed"],
)
def test_silence_of_a_machine_that_is_not_on_its_way_means_nothing(machine: Machine) -> None:
    assert condition(machine, NOW) == machine.state.value


def test_a_report_out_of_range_still_draws_a_segment() -> None:
    machine = installing(bare("w1"), Phase.IMAGE, quiet=SECOND, now=NOW, percent=4000)
    assert [s.label for s in train(machine, [], {}, NOW) if s.label] == ["image 100 %"]


def test_durations_and_medians_come_from_when_the_next_phase_was_seen() -> None:
    def install(*seconds: int) -> list[PhaseRecord]:
        at, records = NOW, []
        for phase, took in zip(PHASES, seconds, strict=False):
            records.append(PhaseRecord(uuid4(), phase, at, at))
            at += took * SECOND
        return records

    assert durations(install(5, 7, 9)) == {Phase.FIRMWARE: 5 * SECOND, Phase.LOADER: 7 * SECOND}
    fleet = [install(5, 7, 0), install(50, 8, 0), install(6, 9, 0)]
    assert medians(fleet) == {Phase.FIRMWARE: 6 * SECOND, Phase.LOADER: 8 * SECOND}


@pytest.mark.parametrize(("took", "width"), [(100, 2), (140, 2), (160, 3), (400, 5), (40, 1)], ids=str)
def test_a_slow_phase_is_a_long_segment(took: int, width: int) -> None:
    machine = ended(bare("w1"), State.ACTIVE, Phase.ACTIVE, "", at=NOW)
    records = [
        PhaseRecord(uuid4(), Phase.FIRMWARE, NOW, NOW),
        PhaseRecord(uuid4(), Phase.LOADER, NOW + took * SECOND, NOW),
    ]
    assert train(machine, records, {Phase.FIRMWARE: 100 * SECOND}, NOW)[0].width == width


def test_the_train_can_be_heard() -> None:
    machine = ended(bare("w1"), State.FAILED, Phase.CLOCK, "in phase clock: no answer", at=NOW)
    assert summary(train(machine, [], {}, NOW)) == "4 of 11 phases done; clock: failed. in phase clock: no answer"
