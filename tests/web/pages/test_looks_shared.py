"""Pages that are open at the same time: one look at the fleet serves them all, and none is left behind by it."""

import pytest

from provisioner.web.pages.board import View
from provisioner.web.pages.changes import BoardWatch, Position
from provisioner.web.pages.desk import Desk
from provisioner.web.pages.looks import FRESH, VIEWS, Looks
from tests.web.pages.conftest import Office
from tests.web.pages.test_changes import on_their_way, report


class Watch:
    """A stopwatch that somebody winds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def looks(office: Office, watch: Watch) -> Looks:
    on_their_way(office, 3)
    return Looks(Desk(office.appliance.parts), watch=watch)


def page(looks: Looks, view: View | None = None) -> BoardWatch:
    """Just loaded."""
    view = view or View()
    board = looks.desk.board(view)
    return BoardWatch(looks, view, Position(board.readings.cursor, board.order))


def told(open_page: BoardWatch) -> list[tuple[str, str]]:
    change = open_page.step()
    return [(row.name, row.event) for row in change.rows] if change else []


def test_pages_of_one_view_share_a_look_and_others_do_not(looks: Looks) -> None:
    assert looks.board(View()) is looks.board(View())
    assert looks.board(View()) is not looks.board(View(q="w1"))


def test_searches_that_nobody_looks_at_any_more_are_forgotten(looks: Looks) -> None:
    first = looks.board(View())
    for number in range(VIEWS):
        assert looks.board(View()) is first
        looks.board(View(q=f"w{number}"))
    for number in range(VIEWS):
        looks.board(View(q=f"r{number}"))
    assert looks.board(View()) is not first


def test_a_look_is_shared_for_a_moment_only(looks: Looks, watch: Watch) -> None:
    first = looks.board(View())
    watch.seconds += FRESH
    assert looks.board(View()) is not first


def test_a_page_that_was_given_an_older_look_is_told_a_moment_later(
    office: Office, looks: Looks, watch: Watch
) -> None:
    one, other = page(looks), page(looks)
    one.step(), other.step()
    watch.seconds += FRESH
    report(office, "w2", 20)
    assert told(one) == [("w2", "20 % written")]
    report(office, "w3", 30)
    # One look ago there was no w3; it is not forgotten.
    assert told(other) == [("w2", "20 % written")]
    watch.seconds += FRESH
    assert told(other) == [("w3", "30 % written")]
    assert told(one) == [("w3", "30 % written")]
    watch.seconds += FRESH
    assert told(one) == told(other) == []


def test_a_page_is_never_taken_back_to_before_it_was_loaded(office: Office, looks: Looks) -> None:
    page(looks).step()
    report(office, "w2", 20)
    late = page(looks)
    assert ("w2", "20 % written") in told(late)


def test_while_the_database_is_away_nothing_is_asked_for_again(office: Office, looks: Looks, watch: Watch) -> None:
    one = page(looks)
    one.step()
    position = one.position
    office.appliance.snapshot.hold()
    one.step()
    office.appliance.store.away = True
    office.appliance.clock.advance(6)
    watch.seconds += FRESH
    change = one.step()
    assert change is not None
    assert not change.board.readings.available
    assert one.position == position
