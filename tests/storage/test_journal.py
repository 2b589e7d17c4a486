"""Callbacks that must survive a dead database and a dying process."""

from pathlib import Path
from typing import Any

import pytest

from provisioner.domain.errors import IllegalTransition, StoreUnavailable
from provisioner.storage import journal as journal_file
from provisioner.storage.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def test_entries_are_applied_in_order_and_then_forgotten(journal: Journal) -> None:
    applied: list[dict[str, Any]] = []
    assert journal.replay(applied.append) == 0
    for number in range(3):
        journal.append({"n": number, "message": "zwei\nZeilen"})
    assert journal.waiting
    assert journal.replay(applied.append) == 3
    assert applied == [{"n": number, "message": "zwei\nZeilen"} for number in range(3)]
    assert not journal.waiting
    assert journal.replay(applied.append) == 0


def test_entries_stay_while_the_database_is_away(journal: Journal, tmp_path: Path) -> None:
    for number in range(3):
        journal.append({"n": number})

    def fails_at_the_second(entry: dict[str, Any]) -> None:
        if entry["n"] == 1:
            raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        journal.replay(fails_at_the_second)
    journal.append({"n": 3})
    applied: list[int] = []
    Journal(tmp_path / "journal.jsonl").replay(lambda entry: applied.append(entry["n"]))
    # The first one twice: apply is idempotent, losing one would not be.
    assert applied == [0, 1, 2, 3]


def test_a_torn_line_spoils_only_itself(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal.append({"n": 0})
    with path.open("ab") as file:
        file.write(b'{"n": 1, "mess\xff')
    journal.append({"n": 2})
    applied: list[int] = []
    assert journal.replay(lambda entry: applied.append(entry["n"])) == 2
    assert applied == [0, 2]
    assert '{"n": 1, "mess' in (tmp_path / "journal.jsonl.rejected").read_text()


def test_an_entry_that_can_never_be_applied_does_not_stop_the_others(journal: Journal, tmp_path: Path) -> None:
    journal.append({"n": 0})
    journal.append({"n": 1})
    applied: list[int] = []

    def apply(entry: dict[str, Any]) -> None:
        if entry["n"] == 0:
            raise IllegalTransition("node-01 is retired", "restore it")
        applied.append(entry["n"])

    assert journal.replay(apply) == 1
    assert applied == [1]
    assert (tmp_path / "journal.jsonl.rejected").read_text() == '{"n": 0}\n'


def test_entries_may_come_during_a_replay(journal: Journal) -> None:
    applied: list[int] = []

    def apply(entry: dict[str, Any]) -> None:
        applied.append(entry["n"])
        if entry["n"] == 0:
            journal.append({"n": 9})

    journal.append({"n": 0})
    journal.append({"n": 1})
    assert journal.replay(apply) == 3
    assert applied == [0, 1, 9]


def test_the_journal_is_for_its_owner_only(journal: Journal, tmp_path: Path) -> None:
    journal.append({"n": 0})
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o077 == 0


def test_a_full_journal_takes_no_more_and_loses_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the database away for long, logs that machines upload must not fill the disk."""
    monkeypatch.setattr(journal_file, "MOST_BYTES", 100)
    with pytest.raises(OSError, match="the journal holds"):
        for number in range(100):
            journal.append({"n": number})
    applied: list[int] = []
    kept = journal.replay(lambda entry: applied.append(entry["n"]))
    assert applied == list(range(kept))
    assert 0 < kept < 100
    journal.append({"n": 100})
