"""The order of ids is the order in which events become visible: a reader that goes on behind an id misses none."""

import threading
from collections.abc import Callable

from sqlalchemy import Engine

from provisioner.domain.events import Event, Kind
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.domain.samples import NOW


def test_a_writer_that_comes_second_is_seen_second(
    store: SqlStore, url: str, engines: Callable[[str], Engine], keyring: Keyring
) -> None:
    """PostgreSQL draws ids before it commits: if writers took no turns, a lower id could appear behind a higher."""
    # An engine of its own, as another process has: turns within one process are not what is tried here.
    other = SqlStore(engines(url), keyring)
    inside, finish, second_done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with store.transaction("first") as tx:
            tx.events.add(Event(Kind.SERVICE, "first", NOW))
            inside.set()
            finish.wait(10)

    def second() -> None:
        with other.transaction("second") as tx:
            tx.events.add(Event(Kind.SERVICE, "second", NOW))
        second_done.set()

    writers = [threading.Thread(target=first), threading.Thread(target=second)]
    writers[0].start()
    assert inside.wait(10)
    writers[1].start()
    try:
        assert not second_done.wait(0.3), "the second wrote although the first had its id and had not committed"
        assert seen(store) == []
    finally:
        finish.set()
        for writer in writers:
            writer.join(20)
    assert seen(store) == ["first", "second"]


def seen(store: SqlStore) -> list[str]:
    with store.reading() as tx:
        return [event.message for event in tx.events.list(after=-1, limit=10)]
