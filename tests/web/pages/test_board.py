"""Which machines are shown, in which order, and what the strip says."""

from dataclasses import replace

import pytest

from provisioner.domain.events import Event, Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Phase, State
from provisioner.web.pages.board import PAGE, Readings, Slowest, View, rows, select, strip
from tests.web.pages.fleet import MINUTE, SECOND, bare, ended, installing

NOW = 1_700_000_000 * SECOND


def named(inventory: Inventory, **view: object) -> list[str]:
    return [machine.name for machine in select(inventory, View(**view), NOW).machines]  # type: ignore[arg-type]


FLEET = Inventory.build(
    [
        replace(bare("w10", 10), labels={"owner": "Zoë"}),
        bare("w2", 2),
        ended(bare("w7", 7), State.FAILED, Phase.DISK, "in phase disk: foreign data", at=NOW),
        installing(bare("w3", 3), Phase.IMAGE, quiet=30 * MINUTE, now=NOW, percent=5),
        installing(bare("w4", 4), Phase.IMAGE, quiet=SECOND, now=NOW, percent=50),
        installing(bare("w5", 5), Phase.KERNEL, quiet=20 * SECOND, now=NOW),
        bare("w6", 6, State.QUARANTINED),
    ]
)


def test_those_that_need_a_person_come_first_then_the_order_of_the_racks() -> None:
    assert named(FLEET) == ["w7", "w3", "w6", "w2", "w4", "w5", "w10"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("w1", ["w10"]),
        ("10.12.1.5", ["w4"]),
        ("52:54:00:00:00:05", ["w5"]),
        ("52-54-00-00-00-05", ["w5"]),
        ("525400000005", ["w5"]),
        ("owner=zoë", ["w10"]),
        ("simple w1", ["w10"]),
        ("nothing like it", []),
        ("²", []),
    ],
)
def test_search(q: str, found: list[str]) -> None:
    assert named(FLEET, q=q) == found


def test_the_strip_counts_stuck_apart_and_names_the_slowest() -> None:
    shown = strip(FLEET, View(state="failed"), {Phase.KERNEL: 30 * SECOND, Phase.IMAGE: 100 * SECOND}, NOW)
    assert {chip.word: chip.count for chip in shown.chips} == {
        "failed": 1, "stuck": 1, "quarantined": 1, "installing": 1, "armed": 1, "ready": 2,
    }  # fmt: skip
    assert [(chip.word, chip.href) for chip in shown.chips if chip.on] == [("failed", "/")]
    # w5 has the longest way to go, but it moves; w3 does not.
    assert shown.slowest == Slowest("w3", Phase.IMAGE, "30 min", "100 s")
    # w5: 30 s for the kernel of which 20 are over, then the image's 100.
    assert shown.estimate == "110 s"


def test_there_is_no_estimate_before_the_first_install_arrived() -> None:
    assert strip(FLEET, View(), {}, NOW).estimate == ""


def test_names_of_odd_digits_still_sort() -> None:
    fleet = Inventory.build([bare("w²", 1), bare("w٣", 2), bare("w1", 3)])
    assert len(named(fleet)) == 3


def test_a_page_beyond_the_last_is_the_last() -> None:
    fleet = Inventory.build(bare(f"w{n:04}", n) for n in range(PAGE + 3))
    assert named(fleet, page=99) == ["w0200", "w0201", "w0202"]


def test_the_last_event_is_the_newer_of_what_happened_and_why_the_state_changed() -> None:
    machine = ended(bare("w1"), State.FAILED, Phase.DISK, "in phase disk: foreign data", at=NOW)
    old = Event(Kind.DHCP_OFFER, "asked for an address", NOW - 5, machine.id)
    new = Event(Kind.BMC_POWER, "power off", NOW + 5, machine.id)
    assert [row.event for row in rows([machine], Readings(events={machine.id: old}), NOW)] == [
        "in phase disk: foreign data"
    ]
    assert [(row.event, row.at) for row in rows([machine], Readings(events={machine.id: new}), NOW)] == [
        ("power off", NOW + 5)
    ]
