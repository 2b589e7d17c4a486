"""Observations that another process writes."""

import os
import threading
import time
from uuid import uuid4

from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase
from provisioner.storage.pipe import PipeObserver, pipe, write_from

MAC = Mac.parse("52:54:00:98:00:17")
FULL = Event(Kind.DHCP_ACK, "took 10.98.0.17", 17, uuid4(), MAC, Phase.FIRMWARE, "dhcp", {"interface": "eth1"})
BARE = Event(Kind.SERVICE, "the clock was set", 18)
SIGHTING = Sighting(MAC, "dhcp", 19, "PXE uefi-x64 on eth1")


class Collected:
    def __init__(self) -> None:
        self.told: list[object] = []

    def observe(self, event: Event) -> None:
        self.told.append(event)

    def sight(self, sighting: Sighting) -> None:
        self.told.append(sighting)


def test_what_goes_in_comes_out() -> None:
    here, there = pipe()
    observer, collected = PipeObserver(here, "packets"), Collected()
    observer.observe(FULL)
    observer.sight(SIGHTING)
    observer.observe(BARE)
    observer.close()
    write_from(there, collected)
    assert collected.told == [FULL, SIGHTING, BARE]


def test_the_loop_never_waits_for_a_writer_that_hangs() -> None:
    here, there = pipe()
    observer = PipeObserver(here, "packets")
    started = time.monotonic()
    for _ in range(50_000):
        observer.observe(FULL)
    # Nobody reads at the other end: who waits for it waits for ever.
    assert time.monotonic() - started < 30
    assert observer.dropped_total > 0
    collected = Collected()
    observer.close()
    write_from(there, collected)
    assert collected.told.count(FULL) + observer.dropped_total == 50_000


def test_what_the_database_is_too_slow_for_is_counted_and_told_where_it_was_seen() -> None:
    here, there = pipe()
    observer, collected, room = PipeObserver(here, "packets"), Collected(), threading.Event()
    writer = threading.Thread(target=write_from, args=(there, collected, room.wait), daemon=True)
    writer.start()
    seen = 0
    while not observer.dropped_total and seen < 500_000:
        observer.observe(FULL)
        seen += 1
    dropped = observer.dropped_total
    assert dropped
    assert collected.told == []
    room.set()
    observer.close()
    writer.join(20)
    assert collected.told.count(FULL) == seen - dropped
    (told,) = (event for event in collected.told if isinstance(event, Event) and event.kind is Kind.SERVICE)
    assert told.message == f"{dropped} observations of packets were not kept; too many waited for the database"
    assert told.data == {"dropped": str(dropped)}


def test_a_writer_without_room_ends_when_nobody_observes_any_more() -> None:
    here, there = pipe()
    observer, collected = PipeObserver(here, "packets"), Collected()
    observer.observe(FULL)
    observer.close()
    write_from(there, collected, lambda _seconds: False)
    assert collected.told == [FULL]


def test_a_writer_that_died_costs_observations_only() -> None:
    here, there = pipe()
    there.close()
    observer = PipeObserver(here, "packets")
    observer.observe(FULL)
    observer.close()
    assert observer.dropped_total == 1


def test_one_that_cannot_travel_costs_nobody_else() -> None:
    here, there = pipe()
    observer, collected = PipeObserver(here, "packets"), Collected()
    for event in (FULL, BARE._replace(message="x" * 70_000), BARE, BARE._replace(at=object())):  # type: ignore[arg-type]
        observer.observe(event)
    observer.close()
    write_from(there, collected)
    assert collected.told == [FULL, BARE]
    assert observer.dropped_total == 2


def test_an_observation_arrives_while_nothing_else_happens() -> None:
    here, there = pipe()
    there.settimeout(5)
    observer = PipeObserver(here, "packets")
    for _ in range(2):
        observer.observe(FULL)
        assert there.recv(60_000)
    observer.close()
    there.close()


def test_the_writer_ends_when_its_parent_is_killed() -> None:
    here, there = pipe()
    pid = os.fork()
    if not pid:
        here.close()
        write_from(there, Collected())
        os._exit(7)
    there.close()
    here.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
