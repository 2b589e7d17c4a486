"""Observations: batched, coalesced, bounded, and never in anybody's way."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase, State
from provisioner.storage.observer import EventWriter
from provisioner.storage.store import SqlStore
from tests.domain.samples import NOW, install, machine


class MoodyStore:
    """A store whose database can be away, and that counts transactions."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.away = False
        self.gate = threading.Event()
        self.gate.set()
        self.transactions = 0

    @contextmanager
    def transaction(self, actor: str) -> Iterator[Any]:
        self.gate.wait(10)
        if self.away:
            raise StoreUnavailable("away")
        self.transactions += 1
        with self.store.transaction(actor) as tx:
            yield tx

    def reading(self) -> AbstractContextManager[Any]:
        return self.store.reading()

    def inventory(self) -> Inventory:
        return self.store.inventory()


@pytest.fixture
def moody(store: SqlStore) -> MoodyStore:
    return MoodyStore(store)


@pytest.fixture
def writers() -> Iterator[Callable[..., EventWriter]]:
    made: list[EventWriter] = []

    def make(*args: Any, **options: Any) -> EventWriter:
        made.append(EventWriter(*args, **options))
        return made[-1]

    yield make
    for writer in made:
        writer.close(timeout=1)


def offer(message: str = "offered 10.12.1.17", machine_id: UUID | None = None, **changes: Any) -> Event:
    return Event(Kind.DHCP_OFFER, message, NOW, machine_id)._replace(**changes)


def events(store: SqlStore) -> list[Event]:
    with store.reading() as tx:
        return list(reversed(tx.events.list(limit=1000)))


Writers = Callable[..., EventWriter]


def test_observations_are_written_in_order_in_few_transactions(moody: MoodyStore, writers: Writers) -> None:
    writer = writers(moody, "packets")
    moody.gate.clear()
    for number in range(200):
        writer.observe(offer(f"packet {number}"))
    moody.gate.set()
    assert writer.flush()
    assert [event.message for event in events(moody.store)] == [f"packet {number}" for number in range(200)]
    assert events(moody.store)[0].actor == "packets"
    assert moody.transactions <= 5


def test_identical_repeats_become_one_event_with_a_count(moody: MoodyStore, writers: Writers) -> None:
    writer = writers(moody, "packets")
    moody.gate.clear()
    for _ in range(50):
        writer.observe(offer())
        writer.observe(offer("other"))
    moody.gate.set()
    assert writer.flush()
    total: dict[str, int] = {}
    for event in events(moody.store):
        total[event.message] = total.get(event.message, 0) + int(event.data.get("count", 1))
    assert total == {"offered 10.12.1.17": 50, "other": 50}
    assert len(events(moody.store)) <= 4


def test_a_repeat_of_what_was_just_written_waits_for_its_likes(store: SqlStore, writers: Writers) -> None:
    writer = writers(store, "packets")
    writer.observe(offer())
    assert writer.flush()
    for _ in range(3):
        writer.observe(offer())
    time.sleep(0.3)
    assert len(events(store)) == 1
    assert writer.flush()
    assert [event.data for event in events(store)] == [{}, {"count": 3}]


def test_the_observer_never_waits_for_the_database(moody: MoodyStore, writers: Writers) -> None:
    writer = writers(moody, "packets")
    moody.gate.clear()
    started = time.monotonic()
    for number in range(2000):
        writer.observe(offer(f"packet {number}"))
        writer.sight(Sighting(Mac.parse("52:54:00:00:00:01"), "dhcp", number))
    # The database answers at no time: who waits for it waits for ever.
    assert time.monotonic() - started < 10
    moody.gate.set()


def test_a_full_queue_counts_what_it_drops_and_says_so(moody: MoodyStore, writers: Writers) -> None:
    writer = writers(moody, "packets", capacity=10)
    moody.away = True
    for number in range(40):
        writer.observe(offer(f"packet {number}"))
    assert not writer.flush(timeout=0.3)
    dropped = writer.dropped_total
    assert dropped > 0
    moody.away = False
    assert writer.flush()
    kept = events(moody.store)
    told = [event for event in kept if event.kind is Kind.SERVICE]
    assert sum(event.data["dropped"] for event in told) == dropped
    assert len(kept) - len(told) == 40 - dropped
    assert "observations of packets were not kept" in told[0].message


def test_what_waits_is_written_when_the_database_is_back(moody: MoodyStore, writers: Writers) -> None:
    writer = writers(moody, "packets")
    moody.away = True
    writer.observe(offer())
    writer.sight(Sighting(Mac.parse("52:54:00:00:00:01"), "dhcp", 5, "host a"))
    assert not writer.flush(timeout=0.3)
    moody.away = False
    assert writer.flush()
    assert [event.message for event in events(moody.store)] == ["offered 10.12.1.17"]
    with moody.reading() as tx:
        assert tx.sightings() == [Sighting(Mac.parse("52:54:00:00:00:01"), "dhcp", 5, "host a")]


def test_one_event_that_cannot_be_written_does_not_take_others_along(store: SqlStore, writers: Writers) -> None:
    writer = writers(store, "packets")
    writer.observe(offer("good"))
    writer.observe(offer("bad", data={"not JSON": object()}))
    writer.observe(offer("good too"))
    assert writer.flush()
    assert [event.message for event in events(store)] == ["good", "good too"]


def test_one_sighting_that_cannot_be_written_does_not_take_others_along(store: SqlStore, writers: Writers) -> None:
    writer = writers(store, "packets")
    macs = [Mac.parse(f"52:54:00:00:00:{n:02x}") for n in range(3)]
    for mac, at in zip(macs, (NOW, object(), NOW), strict=True):
        writer.sight(Sighting(mac, "dhcp", at, "eth1"))  # type: ignore[arg-type]
    assert writer.flush()
    with store.reading() as tx:
        assert [seen.mac for seen in tx.sightings()] == [macs[0], macs[2]]


def test_closing_writes_what_waits(store: SqlStore) -> None:
    writer = EventWriter(store, "packets")
    writer.observe(offer())
    writer.close()
    assert len(events(store)) == 1


def test_early_phases_and_firmware_follow_from_what_was_seen(store: SqlStore, writers: Writers) -> None:
    armed = machine(state=State.ARMED, install=install())
    other = machine("node-02", "52:54:00:00:00:02", "10.12.1.18")
    with store.transaction("cli:test") as tx:
        tx.machines.put(armed)
        tx.machines.put(other)
    writer = writers(store, "packets")
    seen = ((Phase.FIRMWARE, NOW + 1), (Phase.LOADER, NOW + 2), (Phase.KERNEL, NOW + 3), (Phase.LOADER, NOW + 2))
    for number, (phase, at) in enumerate(seen):
        writer.observe(offer(f"seen {number}", armed.id, phase=phase, at=at, data={"firmware": "uefi-x64"}))
        assert writer.flush()
    writer.observe(offer("seen", other.id, phase=Phase.FIRMWARE, data={"firmware": "bios"}))
    writer.observe(offer("nobody", uuid4(), phase=Phase.FIRMWARE))
    assert writer.flush()
    with store.reading() as tx:
        found, bystander = tx.machines.get("node-01"), tx.machines.get("node-02")
        phases = {record.phase: record.first_at for record in tx.machines.phases(UUID(int=1))}
    assert found.install is not None
    assert found.install.phase is Phase.KERNEL
    assert found.firmware == "uefi-x64"
    assert found.state is State.ARMED
    assert found.version == 1
    assert phases == {Phase.FIRMWARE: NOW + 1, Phase.LOADER: NOW + 2, Phase.KERNEL: NOW + 3}
    assert (bystander.install, bystander.firmware) == (None, "bios")


def test_a_late_written_observation_does_not_bring_an_earlier_phase_back(store: SqlStore, writers: Writers) -> None:
    with store.transaction("cli:test") as tx:
        reported = install(phase=Phase.DISK, phase_at=NOW + 10)
        put = tx.machines.put(machine(state=State.INSTALLING, install=reported))
    writer = writers(store, "packets")
    writer.observe(offer("old", put.id, phase=Phase.FIRMWARE, at=NOW + 5))
    assert writer.flush()
    with store.reading() as tx:
        assert tx.machines.get("node-01").install == reported
    writer.observe(offer("rebooted", put.id, phase=Phase.FIRMWARE, at=NOW + 20))
    assert writer.flush()
    with store.reading() as tx:
        assert tx.machines.get("node-01").install == replace(reported, phase=Phase.FIRMWARE, phase_at=NOW + 20)


@pytest.mark.rule("dhcp-20")
def test_where_a_relay_says_a_machine_is_plugged_in_is_kept_with_its_nic(
    store: SqlStore, writers: Callable[..., EventWriter]
) -> None:
    with store.transaction("test") as tx:
        node = tx.machines.put(machine("node1"))
    port = Event(
        Kind.DHCP_OFFER, "offered", NOW, node.id, node.macs[0], None, "dhcp", {"switch_port": "sw3 ge-0/0/17"}
    )
    writer = writers(store, "packets")
    writer.observe(port)
    assert writer.flush()
    writer.observe(port._replace(message="offered again"))
    assert writer.flush()
    with store.transaction("test") as tx:
        after = tx.machines.get("node1")
    assert [nic.switch_port for nic in after.interfaces if nic.mac == port.mac] == ["sw3 ge-0/0/17"]
    # It was edited once: being told the same again is no change.
    assert after.version == node.version + 1


@pytest.mark.parametrize(
    ("gets", "phase", "state"),
    [
        ("disk", Phase.LOADER, State.FAILED),
        ("rescue", Phase.FIRMWARE, State.FAILED),
        ("install", Phase.LOADER, State.INSTALLING),
        # No boot was seen: anybody can write a source address into a datagram.
        ("disk", Phase.IMAGE, State.INSTALLING),
    ],
)
def test_a_boot_that_tftp_led_away_after_the_last_attempt_ends_the_install(
    store: SqlStore, writers: Writers, gets: str, phase: Phase, state: State
) -> None:
    used = install(attempts=3, max_attempts=3, phase=phase, phase_at=NOW)
    with store.transaction("test") as tx:
        put = tx.machines.put(machine(state=State.INSTALLING, install=used))
    writer = writers(store, "packets")
    asked = Event(
        Kind.SCRIPT_SERVED, "asked for its GRUB config", NOW + 9, put.id, phase=Phase.LOADER, data={"gets": gets}
    )
    writer.observe(asked)
    assert writer.flush()
    with store.reading() as tx:
        found = tx.machines.get("node-01")
    assert found.state is state
    if state is State.FAILED:
        why = "all 3 attempts were used without a complete report"
        assert (found.state_reason, found.install.outcome) == (f"in phase {phase}: {why}", "failed")
        assert events(store)[-1].message == f"installing → failed: in phase {phase}: {why}"
