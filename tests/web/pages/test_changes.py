"""What an open page is told: only what changed, nothing lost in a gap."""

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from provisioner.domain import lifecycle
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import Report
from provisioner.domain.machine import Machine, Phase
from provisioner.web.auth import COOKIE
from provisioner.web.pages import stream
from provisioner.web.pages.board import View
from provisioner.web.pages.changes import MANY, OVERLAP, TIME_PASSES, BoardWatch, DrawerWatch, Position
from provisioner.web.pages.desk import Desk
from provisioner.web.pages.looks import Looks
from provisioner.web.people import create_people_app
from tests.web.pages.conftest import Office
from tests.web.pages.fleet import MINUTE, SECOND, bare, fill, installing


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office.appliance.parts)


def on_their_way(office: Office, count: int) -> list[Machine]:
    now = office.appliance.clock()
    machines = [
        installing(bare(f"w{n}", n), Phase.IMAGE, quiet=0, now=now, percent=10) for n in range(1, count + 1)
    ]
    fill(office.appliance.store, machines)
    return machines


def report(office: Office, name: str, percent: int) -> None:
    now = office.appliance.clock()
    with office.appliance.store.transaction("test") as tx:
        machine = tx.machines.get(name)
        tx.machines.put_progress(lifecycle.after(machine, Report("progress", Phase.IMAGE, percent), now))
        tx.events.add(Event(Kind.REPORT_PROGRESS, f"{percent} % written", now, machine.id))


def opened(desk: Desk, view: View | None = None) -> BoardWatch:
    """A page that was just loaded and has caught up."""
    view = view or View()
    board = desk.board(view)
    watch = BoardWatch(Looks(desk, fresh=0), view, Position(board.readings.cursor, board.order))
    watch.step()
    return watch


def test_only_the_row_that_changed_is_sent(office: Office, desk: Desk) -> None:
    on_their_way(office, 3)
    watch = opened(desk)
    assert watch.step() is None
    report(office, "w2", 20)
    change = watch.step()
    assert change is not None
    assert [(row.name, row.event) for row in change.rows] == [("w2", "20 % written")]
    assert not change.whole
    assert watch.step() is None


def test_an_event_that_shows_before_the_snapshot_moved_is_followed_by_the_row_as_it_became(
    office: Office, desk: Desk
) -> None:
    on_their_way(office, 1)
    watch = opened(desk)
    office.appliance.snapshot.hold()
    report(office, "w1", 20)
    early = watch.step()
    office.appliance.snapshot.follow()
    late = watch.step()
    assert early is not None
    assert late is not None
    labels = [[segment.label for segment in change.rows[0].train if segment.label] for change in (early, late)]
    assert labels == [["image 10 %"], ["image 20 %"]]


def test_a_page_that_was_away_gets_what_it_missed(office: Office, desk: Desk) -> None:
    on_their_way(office, 3)
    had = opened(desk).position
    report(office, "w3", 50)
    resumed = BoardWatch(Looks(desk, fresh=0), View(), had).step()
    assert resumed is not None
    assert "w3" in [row.name for row in resumed.rows]
    assert not resumed.whole


def test_a_page_that_was_away_for_very_long_gets_every_row(office: Office, desk: Desk) -> None:
    machines = on_their_way(office, 3)
    had = opened(desk).position
    with office.appliance.store.transaction("test") as tx:
        for _ in range(MANY + OVERLAP):
            tx.events.add(Event(Kind.DHCP_ACK, "renewed", 1, machines[0].id))
    resumed = BoardWatch(Looks(desk, fresh=0), View(), had)
    change = resumed.step()
    assert change is not None
    assert len(change.rows) == 3
    assert resumed.position.cursor >= had.cursor + MANY
    assert resumed.step() is None


def test_a_new_order_replaces_the_rows(office: Office, desk: Desk) -> None:
    on_their_way(office, 3)
    watch = opened(desk)
    office.appliance.clock.advance(11 * MINUTE / SECOND)
    report(office, "w1", 11)
    report(office, "w3", 11)
    change = watch.step()
    assert change is not None
    assert change.whole
    assert [(row.name, row.condition) for row in change.rows] == [
        ("w2", "stuck"),
        ("w1", "installing"),
        ("w3", "installing"),
    ]


def test_a_machine_becomes_stuck_without_any_event(office: Office, desk: Desk) -> None:
    on_their_way(office, 1)
    watch = opened(desk)
    office.appliance.snapshot.hold()
    watch.step()
    office.appliance.clock.advance(11 * MINUTE / SECOND)
    change = watch.step()
    assert change is not None
    assert [row.condition for row in change.rows] == ["stuck"]
    assert change.strip is not None
    assert [chip.word for chip in change.strip.chips] == ["stuck"]


def test_a_filtered_page_hears_of_its_own_machines_only(office: Office, desk: Desk) -> None:
    on_their_way(office, 3)
    watch = opened(desk, View(q="w1"))
    report(office, "w2", 20)
    assert watch.step() is None


def test_the_first_machine_turns_the_empty_page_into_another(office: Office, desk: Desk) -> None:
    watch = opened(desk)
    on_their_way(office, 1)
    change = watch.step()
    assert change is not None
    assert change.begun


def test_without_a_database_rows_stay_and_a_banner_comes_and_goes(office: Office, desk: Desk) -> None:
    on_their_way(office, 1)
    watch = opened(desk)
    office.appliance.snapshot.hold()
    watch.step()
    office.appliance.store.away = True
    office.appliance.clock.advance(6)
    change = watch.step()
    assert change is not None
    assert not change.board.readings.available
    assert change.rows == ()
    office.appliance.store.away = False
    office.appliance.clock.advance(6)
    back = watch.step()
    assert back is not None
    assert back.board.readings.available


def test_the_drawer_is_told_of_its_machine_and_of_new_buttons(office: Office, desk: Desk) -> None:
    on_their_way(office, 2)
    machine = desk.parts.snapshot.inventory.names["w1"]
    drawer = desk.drawer(machine)
    watch = DrawerWatch(desk, "w1", Position(drawer.cursor, drawer.acts_key))
    first = watch.step()
    assert first is not None
    assert not first.acts
    report(office, "w2", 20)
    assert watch.step() is None
    report(office, "w1", 20)
    change = watch.step()
    assert change is not None
    assert change.drawer is not None
    assert change.drawer.entries[0].sentence == "20 % written"
    assert not change.acts
    with office.appliance.store.transaction("test") as tx:
        tx.machines.put_progress(lifecycle.failed(tx.machines.get("w1"), Phase.IMAGE, "no space", 1))
    failed = watch.step()
    assert failed is not None
    assert failed.acts


def test_the_drawer_of_a_machine_that_was_removed_is_over(office: Office, desk: Desk) -> None:
    change = DrawerWatch(desk, "nobody", Position()).step()
    assert change is not None
    assert change.drawer is None


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("12.a0b1", Position(12, "a0b1")),
        ("", Position()),
        ("-1.x", Position()),
        ("9" * 40, Position()),
        ("x.y", Position()),
    ],
)
def test_what_a_browser_says_it_has_is_read_with_care(text: str, position: Position) -> None:
    assert Position.parse(text) == position


def test_an_event_stays_one_event_whatever_lines_a_machine_writes() -> None:
    text = stream.message("<p>a\r\n\r\ndata: x\u2028id: 7\x0b\x85b\rc</p>", "1.a")
    assert text.count("\n\n") == 1
    assert text.endswith("\n\n")
    assert all(line.startswith(("data: ", "id: 1.a")) for line in text.splitlines() if line)


def test_another_dhcp_server_is_a_banner_while_it_answers(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "packets.prom"
    parts = replace(office.appliance.parts, packets_metrics=file)
    browser = TestClient(create_people_app(parts), base_url="http://appliance", cookies={COOKIE: office.secret})
    on_their_way(office, 1)
    watch = opened(Desk(parts))
    assert "Another DHCP server" not in browser.get("/").text
    file.write_text(
        'provisioner_dhcp_rogue_servers{interface="eth1",address="10.98.0.9",mac="52:54:00:98:0d:01"} 1\n'
    )
    html = browser.get("/").text
    assert "Another DHCP server answers on eth1" in html
    assert "10.98.0.9" in html
    assert "52:54:00:98:0d:01" in html
    office.appliance.clock.advance(TIME_PASSES / SECOND)
    told = watch.step()
    assert told is not None, "an open page is told without a machine having moved"
    assert [rogue.address for rogue in told.board.rogues] == ["10.98.0.9"]
    file.write_text("")
    office.appliance.clock.advance(TIME_PASSES / SECOND)
    told = watch.step()
    assert told is not None
    assert told.board.rogues == ()


def test_leases_that_cannot_be_written_are_a_banner_until_they_can(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "packets.prom"
    parts = replace(office.appliance.parts, packets_metrics=file)
    browser = TestClient(create_people_app(parts), base_url="http://appliance", cookies={COOKIE: office.secret})
    on_their_way(office, 1)
    file.write_text('provisioner_dhcp_leases_refused{why=""} 0\n')
    watch = opened(Desk(parts))
    assert "leases cannot be written" not in browser.get("/").text
    file.write_text('provisioner_dhcp_leases_refused{why="database or disk is full"} 1\n')
    assert "leases cannot be written (database or disk is full)" in browser.get("/").text
    office.appliance.clock.advance(TIME_PASSES / SECOND)
    told = watch.step()
    assert told is not None, "an open page is told without a machine having moved"
    assert told.board.lease_fault == "database or disk is full"
