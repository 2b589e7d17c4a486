"""Other servers are found and told; what is counted can be scraped."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from provisioner.dhcp import rogues
from provisioner.dhcp.counting import Counters, exposition
from provisioner.dhcp.decision import Cause
from provisioner.dhcp.rogues import RogueWatch
from provisioner.domain.events import Event, Kind
from tests.netns import wire

from .on_wire import ROOT, inside, until

FOREIGN = ("10.98.0.9", "52:54:00:98:0d:01")
OURS = IPv4Address("10.98.0.1")


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def sight(self, sighting: object) -> None: ...


def test_a_server_is_told_when_it_comes_and_when_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[set[tuple[str, str]] | None] = [
        {FOREIGN, (str(OURS), "52:54:00:00:00:01")},
        {FOREIGN},
        None,
        set(),
    ]
    monkeypatch.setattr(rogues, "_probe", lambda *_: answers.pop(0))
    told, stop = Told(), threading.Event()
    watch = RogueWatch(["eth1"], frozenset({OURS}), told, lambda: 17, 60)
    seen: list[Sequence[rogues.Rogue]] = []
    while answers:
        watch.look(stop)
        seen.append(sorted(watch.current))
    # A probe that could not run proves nothing, and nothing is told twice.
    assert seen == [[("eth1", *FOREIGN)], [("eth1", *FOREIGN)], [("eth1", *FOREIGN)], []]
    assert [(event.kind, event.message) for event in told.events] == [
        (
            Kind.DHCP_ROGUE,
            "another DHCP server answers on eth1: 10.98.0.9, MAC 52:54:00:98:0d:01; switch it off, or set dhcp = "
            "'proxy' for eth1 if it is meant to give the addresses",
        ),
        (Kind.DHCP_ROGUE, "the other DHCP server on eth1, 10.98.0.9, does not answer any more"),
    ]
    assert told.events[0].data == {"interface": "eth1", "address": FOREIGN[0], "mac": FOREIGN[1]}


def test_the_numbers_are_prometheus_text() -> None:
    counters = Counters()
    counters.decisions["eth1", Kind.DHCP_OFFER, Cause.ANSWERED] += 3
    counters.decisions["eth1", Kind.DHCP_IGNORED, Cause.SHED] += 2
    counters.conflicts = 1
    text = exposition(counters, {"bound": 5}, [("eth1", *FOREIGN)], 4)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    name = "provisioner_dhcp_packets_total"
    assert samples[name, (("cause", "answered"), ("decision", "offer"), ("interface", "eth1"))] == 3
    assert samples[name, (("cause", "shed"), ("decision", "ignored"), ("interface", "eth1"))] == 2
    assert samples["provisioner_dhcp_conflicts_total", ()] == 1
    assert samples["provisioner_dhcp_leases", (("state", "bound"),)] == 5
    assert samples["provisioner_packets_observations_dropped_total", ()] == 4
    rogue = (("address", FOREIGN[0]), ("interface", "eth1"), ("mac", FOREIGN[1]))
    assert samples["provisioner_dhcp_rogue_servers", rogue] == 1


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
@pytest.mark.rule("fault-14")
def test_dnsmasq_beside_us_is_found_by_the_probe(tmp_path: Path) -> None:
    with wire("10.98.0.1/24") as on:
        foreign = on.plug("foreign", FOREIGN[1], f"{FOREIGN[0]}/24")
        looks = [*on.exec(on.server), sys.executable, "-m", "provisioner.dhcp.probe", "br0"]

        def probed() -> dict[str, object]:
            done = subprocess.run(looks, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
            return dict(json.loads(done.stdout))

        assert probed() == {"answers": [], "failed": ""}
        process = subprocess.Popen(
            [
                *on.exec(foreign),
                *("dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--interface=eth0", "--dhcp-authoritative"),
                "--dhcp-range=10.98.0.50,10.98.0.60,255.255.255.0,600",
                *(f"--dhcp-leasefile={tmp_path / 'dnsmasq.leases'}", f"--pid-file={tmp_path / 'dnsmasq.pid'}"),
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: ":67 " in inside(on, "foreign", "ss", "-lun"))
            found = probed()["answers"]
            assert isinstance(found, list)
            assert [(each["server"], each["mac"]) for each in found] == [FOREIGN]
        finally:
            process.kill()
            process.wait(10)
