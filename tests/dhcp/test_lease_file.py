"""Leases on disk: what was acknowledged is there after whatever happened."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.dhcp.lease_file import LeaseFile, LeaseWriter, NotWritten
from provisioner.dhcp.leases import SECOND, Lease, LeaseState
from provisioner.domain.errors import Refused
from provisioner.domain.mac import Mac

from .rack import NOW

ROOT = Path(__file__).parents[2]


def lease(number: int, until: int = NOW, state: LeaseState = LeaseState.BOUND) -> Lease:
    return Lease(IPv4Address(0x0A620000 + number), Mac(b"\x02\0\0\0" + number.to_bytes(2, "big")), state, until)


@contextmanager
def writing(file: LeaseFile) -> Iterator[tuple[LeaseWriter, Callable[[int], list[tuple[object, str]]]]]:
    """A writer, and how to wait for so many tickets."""
    told = threading.Event()
    writer = LeaseWriter(file, told.set)
    done: list[tuple[object, str]] = []

    def finished(count: int) -> list[tuple[object, str]]:
        deadline = time.monotonic() + 20
        while len(done) < count:
            assert told.wait(deadline - time.monotonic()), f"{len(done)} of {count} in time"
            told.clear()
            done.extend(writer.finished())
        return done

    try:
        yield writer, finished
    finally:
        writer.close()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    kept = [lease(n, NOW + n, state) for n, state in enumerate(LeaseState)]
    file.write([lease(0, 1), *kept])
    file.close()
    again = LeaseFile.open(path)
    assert again.load() == kept
    again.close()


def test_a_commit_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    file = LeaseFile.open(tmp_path / "leases.db")
    settings = [
        file._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]
    assert settings == ["wal", 2]
    file.close()


def test_what_waits_is_written_together_and_in_order(tmp_path: Path) -> None:
    file = LeaseFile.open(tmp_path / "leases.db")
    commits = 0
    with writing(file) as (writer, finished):
        write = file.write

        def counted(leases: object) -> None:
            nonlocal commits
            commits += 1
            time.sleep(0.01)
            write(leases)  # type: ignore[arg-type]

        file.write = counted  # type: ignore[method-assign]
        for n in range(300):
            assert writer.submit([([lease(n % 10, NOW + n)], n)])
        done = finished(300)
    assert [ticket for ticket, _ in done] == list(range(300))
    assert {why for _, why in done} == {""}
    assert commits < 100
    again = LeaseFile.open(tmp_path / "leases.db")
    assert [entry.until for entry in again.load()] == [NOW + 290 + n for n in range(10)]
    again.close()


@pytest.mark.rule("fault-04")
def test_a_locked_file_refuses_and_later_serves_again(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    file._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    with writing(file) as (writer, finished):
        other.execute("BEGIN EXCLUSIVE")
        writer.submit([([lease(1)], "while locked")])
        assert finished(1) == [("while locked", "database is locked")]
        other.execute("COMMIT")
        other.close()
        writer.submit([([lease(2)], "after")])
        assert finished(2)[1] == ("after", "")
    again = LeaseFile.open(path)
    assert again.load() == [lease(2)]
    again.close()


@pytest.mark.rule("fault-04")
def test_a_file_that_is_free_again_is_found_out_without_anybody_asking_for_an_address(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    file._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path, isolation_level=None)
    with writing(file) as (writer, finished):
        assert writer.fault == ""
        other.execute("BEGIN EXCLUSIVE")
        writer.submit([([lease(1)], "while locked")])
        assert finished(1) == [("while locked", "database is locked")]
        assert writer.fault == "database is locked"
        other.execute("COMMIT")
        other.close()
        deadline = time.monotonic() + 60
        while writer.fault:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    again = LeaseFile.open(path)
    assert again.load() == []
    again.close()


def test_no_fault_ends_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    write, faults = file.write, [RuntimeError("a fault on purpose")]

    def faulty(leases: Iterable[Lease]) -> None:
        if faults:
            raise faults.pop()
        write(leases)

    file.write = faulty  # type: ignore[method-assign]
    with writing(file) as (writer, finished):
        writer.submit([([lease(1)], "lost")])
        assert finished(1) == [("lost", "RuntimeError('a fault on purpose')")]
        writer.submit([([lease(2)], "kept")])
        assert finished(2)[1] == ("kept", "")


@pytest.mark.rule("fault-03")
def test_a_full_disk_refuses_all_or_nothing(tmp_path: Path) -> None:
    file = LeaseFile.open(tmp_path / "leases.db")
    file.write([lease(1)])
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    # As a full disk answers: SQLITE_FULL.
    file._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NotWritten, match="full"):
        file.write(lease(n) for n in range(5000))
    assert file.load() == [lease(1)]
    file.close()


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "leases.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Refused, match=r"lease file .*leases\.db cannot be used: file is not a database; "):
        LeaseFile.open(tmp_path / "leases.db")
    with pytest.raises(Refused, match="unable to open"):
        LeaseFile.open(tmp_path / "nowhere" / "leases.db")


def damaged(path: Path) -> None:
    """A lease file that a disk has lost pages of."""
    file = LeaseFile.open(path)
    file.write(lease(n) for n in range(2000))
    file.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xa5" * (len(whole) - 8192))


def test_a_damaged_file_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    damaged(tmp_path / "leases.db")
    with pytest.raises(Refused, match=r"leases\.db cannot be used: .*; .*if it is damaged, move it away"):
        LeaseFile.open(tmp_path / "leases.db")


def dated(path: Path, now: int) -> None:
    """As if the clock had said ``now`` when it was last written."""
    os.utime(path, ns=(now * 1000, now * 1000))


@pytest.mark.rule("fault-06")
@pytest.mark.parametrize("behind", [365 * 86_400 * SECOND, 3600 * SECOND])
def test_by_a_clock_that_lags_behind_the_file_no_lease_lasts_for_years(tmp_path: Path, behind: int) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    file.write([lease(1, NOW + 600 * SECOND)])
    file.close()
    dated(path, NOW)
    start = NOW - behind
    for _ in range(2):  # also after a restart, when the file looks as old as the clock says
        file = LeaseFile.open(path)
        assert [entry.until - start for entry in file.load(start)] == [600 * SECOND]
        file.close()
        dated(path, start)


def test_a_clock_that_is_a_little_behind_the_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    file.write([lease(1, NOW + 600 * SECOND)])
    file.close()
    dated(path, NOW)
    file = LeaseFile.open(path)
    assert file.load(NOW - SECOND) == file.load(NOW + 86_400 * SECOND) == [lease(1, NOW + 600 * SECOND)]
    file.close()


def test_rows_that_nobody_wrote_are_not_leases(tmp_path: Path) -> None:
    path = tmp_path / "leases.db"
    file = LeaseFile.open(path)
    file.write([lease(1)])
    file.close()
    with sqlite3.connect(path) as damaged:
        for row in ("-1, x'020000000001', 2, 0", "5, x'02', 2, 0", "6, x'020000000001', 9, 0"):
            damaged.execute(f"INSERT INTO leases VALUES ({row})")
    damaged.close()
    again = LeaseFile.open(path)
    assert again.load() == [lease(1)]
    again.close()


# Leases as fast as it can; each line on stdout was acknowledged before it was printed.
WRITES = """
import os, sys, threading
from ipaddress import IPv4Address
from pathlib import Path
from provisioner.dhcp.lease_file import LeaseFile, LeaseWriter
from provisioner.dhcp.leases import Lease, LeaseState
from provisioner.domain.mac import Mac
told = threading.Event()
writer = LeaseWriter(LeaseFile.open(Path(sys.argv[1])), told.set)
number = int(sys.argv[2])
waiting = 0
os.write(1, b"ready\\n")
while True:
    while waiting < 16:
        mac = Mac(b"\\x02" + number.to_bytes(5, "big"))
        lease = Lease(IPv4Address(number % 500), mac, LeaseState.BOUND, number)
        writer.submit([([lease], number)])
        number, waiting = number + 1, waiting + 1
    told.wait()
    told.clear()
    for ticket, why in writer.finished():
        assert not why, why
        waiting -= 1
        os.write(1, b"%d\\n" % ticket)
"""


def kill_series(path: Path, times: int) -> int:
    """Kill a writing process so often at a random moment; returns how many leases it had acknowledged."""
    chance = random.Random(3)
    acknowledged: dict[int, int] = {}
    total, start = 0, 1
    for _ in range(times):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(path), str(start)], cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            assert child.stdout
            assert child.stdout.readline() == b"ready\n"
            time.sleep(chance.random() * 0.05)
        finally:
            child.kill()
            out, _ = child.communicate(timeout=30)
        # A last line without its end may have been cut by the kill; the number would be wrong.
        for line in out.splitlines(keepends=True):
            if line.endswith(b"\n"):
                acknowledged[int(line) % 500] = int(line)
                total += 1
        file = LeaseFile.open(path)
        stored = {int(entry.address): entry for entry in file.load()}
        file.close()
        for address, number in acknowledged.items():
            entry = stored[address]
            # A later one may have reached the disk without its acknowledgement; an earlier one must not be back.
            assert entry.until >= number
            assert entry.mac == b"\x02" + entry.until.to_bytes(5, "big"), "one address, two clients"
        start = max([entry.until for entry in stored.values()], default=0) + 1
    return total


@pytest.mark.system
@pytest.mark.rule("fault-01")
def test_every_acknowledged_lease_survives_kill_9(tmp_path: Path) -> None:
    assert kill_series(tmp_path / "leases.db", 30) > 30


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.rule("fault-01")
def test_every_acknowledged_lease_survives_a_thousand_kills(tmp_path: Path) -> None:
    assert kill_series(tmp_path / "leases.db", 1000) > 1000
