"""What is expected next, and what to do when it does not come."""

from ipaddress import ip_address, ip_network
from uuid import uuid4

import pytest

from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import PHASES, Phase, State
from provisioner.domain.outlook import Surroundings, expected
from provisioner.domain.subnet import Subnet
from provisioner.web.pages.timeline import entries
from tests.web.pages.fleet import MINUTE, SECOND, bare, ended, installing

NOW = 1_700_000_000 * SECOND
SUBNET = Subnet(uuid4(), ip_network("10.12.0.0/16"), ip_address("10.12.0.1"), vlan=12)
STRANGER = Sighting(Mac.parse("52:54:00:aa:bb:cc"), "dhcp", NOW - MINUTE)


def test_an_armed_machine_is_given_time_to_start() -> None:
    told = expected(installing(bare("w1"), None, quiet=4 * MINUTE, now=NOW), Surroundings(SUBNET), NOW)
    assert (told.next, told.overdue) == ("a DHCP request from 52:54:00:00:00:01", False)


def test_an_armed_machine_that_never_asks_points_to_power_vlan_and_the_mac_seen_instead() -> None:
    machine = installing(bare("w1"), None, quiet=12 * MINUTE, now=NOW)
    told = expected(machine, Surroundings(SUBNET, STRANGER), NOW)
    assert told.overdue
    assert "armed 12 min ago and not one packet" in told.cause
    assert "52:54:00:aa:bb:cc at 22:12:20 UTC" in told.cause
    assert told.fix == "power it on with network boot first; check that its switch port is in VLAN 12"


def test_a_stranger_seen_before_arming_explains_nothing() -> None:
    machine = installing(bare("w1"), None, quiet=12 * MINUTE, now=NOW)
    old = Sighting(STRANGER.mac, "dhcp", NOW - 60 * MINUTE)
    assert "aa:bb" not in expected(machine, Surroundings(SUBNET, old), NOW).cause


@pytest.mark.parametrize("phase", PHASES[:-1])
def test_every_phase_that_can_stand_still_has_a_next_step_a_cause_and_a_fix(phase: Phase) -> None:
    machine = installing(bare("w1"), phase, quiet=40 * MINUTE, now=NOW)
    if phase is Phase.REBOOT:
        machine = ended(bare("w1"), State.INSTALLED, phase, "", at=NOW - 40 * MINUTE)
    told = expected(machine, Surroundings(SUBNET, appliance="10.12.0.1"), NOW)
    assert told.overdue
    assert told.cause.startswith("no sign of life for 40 min: ")
    assert told.next
    assert told.fix
    assert "{" not in told.next + told.cause + told.fix


def test_how_far_it_came_is_part_of_the_cause() -> None:
    machine = installing(bare("w1"), Phase.IMAGE, quiet=17 * MINUTE, now=NOW, percent=61)
    assert expected(machine, Surroundings(), NOW).cause.startswith("no sign of life for 17 min, image at 61 %: ")


@pytest.mark.parametrize("state", list(State))
def test_every_state_says_what_comes_next(state: State) -> None:
    assert expected(bare("w1", state=state), Surroundings(), NOW).next


def test_entries_carry_the_log_apart_and_head_each_day_once() -> None:
    day = 24 * 60 * MINUTE
    told = entries(
        [
            Event(Kind.REPORT_LOG, "uploaded its log", NOW, data={"text": "line 1\nline 2", "size": 13}),
            Event(Kind.DHCP_NAK, "refused", NOW - 1, mac=Mac.parse("52:54:00:00:00:01")),
            Event(Kind.MACHINE_ADDED, "added", NOW - day),
        ]
    )
    assert [(e.day, e.log, e.detail, e.mac, e.tone) for e in told] == [
        ("14 November 2023, UTC", "line 1\nline 2", "size: 13", "", "plain"),
        ("", "", "", "52:54:00:00:00:01", "bad"),
        ("13 November 2023, UTC", "", "", "", "plain"),
    ]
