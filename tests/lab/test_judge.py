"""The lab believes the wire: each way of not having arrived is told apart, whatever the appliance claims."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.judge import Judge
from provisioner.lab.machine import LabFirmware
from provisioner.lab.rack import RackMachine
from provisioner.lab.witness import Sight

MAC = Mac.parse("52:54:00:00:00:0a")
TRUTH = RackMachine(
    *("bios-1", LabFirmware.BIOS, MAC, "10.77.0.201", "lab", "x", Path("console.log")),
    *(SimpleNamespace(), SimpleNamespace()),
)
TOLD = {
    "name": "node-01",
    "mac": str(MAC),
    "ip": "10.77.0.11",
    "state": "active",
    "phase": "active",
    "reason": "",
    "attempts": 1,
}
COMPLETE = {"kind": "report.complete", "at": "1970-01-01 00:00:05.000Z"}


@dataclass
class FixedAppliance:
    events: list[dict[str, Any]] = field(default_factory=lambda: [COMPLETE])

    def ask(self, *_words: str) -> list[dict[str, Any]]:
        return self.events


@dataclass
class FixedWitness:
    sightings: list[tuple[Sight, float]] = field(default_factory=list)
    watching: bool = True

    def count(self, what: Sight, mac: str, since: int = 0) -> int:
        return sum(1 for seen, at in self.sightings if seen is what and mac == str(MAC) and at * 1e6 >= since)


def judge(
    *sightings: tuple[Sight, float], watching: bool = True, events: list[dict[str, Any]] | None = None
) -> Judge:
    witness = FixedWitness(list(sightings), watching)
    return Judge(FixedAppliance([COMPLETE] if events is None else events), witness, SimpleNamespace())


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"mac": "02:54:00:00:00:0a"}, "the FRU is wrong"),
        ({"state": "failed", "reason": "no disk of 10GiB"}, "no disk of 10GiB"),
        ({"state": "installing", "phase": "image"}, "stopped in state installing, phase image"),
        ({"state": "armed", "phase": ""}, "phase none"),
    ],
)
def test_what_did_not_arrive_is_told_with_its_reason(told, words):
    assert words in judge().verdict({**TOLD, **told}, TRUTH)


def test_a_system_that_asked_for_an_address_after_the_install_is_not_static():
    said = judge((Sight.SYSTEM, 3), (Sight.FIRMWARE, 6), (Sight.SYSTEM, 7)).verdict(TOLD, TRUTH)
    assert said == "its installed system asked for an address by DHCP (1 requests): not static"


def test_without_the_event_of_completion_every_request_counts():
    assert "(1 requests)" in judge((Sight.SYSTEM, 3), events=[]).verdict(TOLD, TRUTH)


def test_a_wire_that_nobody_watched_proves_nothing():
    assert "not watched" in judge(watching=False).verdict(TOLD, TRUTH)


def test_only_a_machine_that_asks_under_another_mac_is_given_up():
    lied = {**TOLD, "mac": "02:54:00:00:00:0a", "state": "armed"}
    assert judge().hopeless(lied, TRUTH, 121)
    assert not judge().hopeless(lied, TRUTH, 60)
    asks = [(Sight.FIRMWARE, 1.0), (Sight.FIRMWARE, 2.0), (Sight.FIRMWARE, 4.0)]
    assert judge(*asks).hopeless(lied, TRUTH, 10)
    assert not judge(*asks[1:]).hopeless(lied, TRUTH, 10)
    assert not judge(*asks).hopeless({**TOLD, "state": "armed"}, TRUTH, 10)
    assert not judge().hopeless({**TOLD, "state": "armed"}, TRUTH, 1000)
    assert not judge().hopeless({**lied, "state": "installing"}, TRUTH, 1000)


@pytest.mark.parametrize(
    ("sightings", "after", "words"),
    [
        ([(Sight.HOME, 5), (Sight.FIRMWARE, 11)], {}, "did not come home again"),
        ([(Sight.HOME, 15), (Sight.FIRMWARE, 5)], {}, "did not ask the network first"),
        ([(Sight.HOME, 15), (Sight.FIRMWARE, 11)], {"attempts": 2}, "it installed again"),
        ([(Sight.HOME, 15), (Sight.FIRMWARE, 11)], {"state": "failed"}, "it installed again"),
        ([(Sight.HOME, 15), (Sight.FIRMWARE, 11), (Sight.SYSTEM, 12)], {}, "not static"),
    ],
)
def test_a_second_boot_is_judged_by_what_happened_since(sightings, after, words):
    assert words in judge(*sightings).second_verdict(TOLD, {**TOLD, **after}, TRUTH, 10_000_000)
