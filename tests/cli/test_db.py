"""Backup and restore as an operator does them; what would lose something is refused or kept aside."""

import io
import json
import sqlite3
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def listed(run: Run, name: str) -> bool:
    return any(row["name"] == name for row in run("machine", "list", "--json").json)


@pytest.fixture
def backup(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup that knows node-01 and a BMC's password."""
    run("machine", "add", "--name", "node-01", "--mac", "52:54:00:00:00:01")
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    run("bmc", "add", "10.12.200.17", "--user", "admin", "--password-stdin")
    file = tmp_path / "backup.tar"
    assert run("db", "backup", str(file)).code == 0
    return file


@pytest.mark.rule("threat-04")
def test_a_backup_holds_no_password_and_no_keys_unless_asked(run: Run, backup: Path, tmp_path: Path) -> None:
    with tarfile.open(backup) as tar:
        assert not [name for name in tar.getnames() if "key" in name]
    assert b"correct horse" not in backup.read_bytes()
    assert backup.stat().st_mode & 0o077 == 0
    done = run("db", "backup", str(tmp_path / "with.tar"), "--with-keys")
    assert "keep it like the BMC passwords themselves" in done.err
    with tarfile.open(tmp_path / "with.tar") as tar:
        assert "keys/tokens.key" in tar.getnames()


def test_a_restore_brings_back_what_was_and_keeps_what_is(run: Run, backup: Path, tmp_path: Path) -> None:
    run("machine", "add", "--name", "node-02", "--mac", "52:54:00:00:00:02")
    refused = run("db", "restore", str(backup))
    assert (refused.code, "say --replace" in refused.err) == (1, True)
    assert listed(run, "node-02"), "a refused restore changes nothing"
    done = run("db", "restore", str(backup), "--replace")
    assert (done.code, done.err) == (0, "")
    assert (listed(run, "node-01"), listed(run, "node-02")) == (True, False)
    (kept,) = (tmp_path / "data" / "backups").glob("before-restore-*.tar")
    assert run("db", "restore", str(kept), "--replace").code == 0
    assert listed(run, "node-02")


def test_a_backup_never_overwrites_another(run: Run, backup: Path) -> None:
    again = run("db", "backup", str(backup))
    assert (again.code, "a backup never overwrites another" in again.err) == (1, True)


def test_a_nightly_backup_does_not_fill_the_disk(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_BACKUPS_KEPT", "3")
    run("machine", "add", "--name", "node-01", "--mac", "52:54:00:00:00:01")
    folder = tmp_path / "data" / "backups"
    folder.mkdir()
    nights = [f"2024010{number}T030000Z.tar" for number in range(1, 6)]
    for name in (*nights, "before-upgrade-from-0003.tar", "mine.tar"):
        (folder / name).touch()
    done = run("db", "backup")
    assert done.code == 0
    assert f"{folder / nights[0]}: removed, the newest 3 stay (backups_kept)" in done.out
    stay = {file.name for file in folder.iterdir()}
    assert stay >= {*nights[3:], "before-upgrade-from-0003.tar", "mine.tar"}
    assert len(stay) == 5, "two old nights, this one, and what others put there"
    monkeypatch.setenv("PROVISIONER_BACKUPS_KEPT", "0")
    (folder / nights[0]).touch()
    assert "removed" not in run("db", "backup", str(tmp_path / "else.tar")).out
    assert (folder / nights[0]).exists()


def test_what_is_no_whole_backup_is_refused_before_anything_is_touched(
    run: Run, backup: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(backup.read_bytes()[:6000])
    for file, why in ((cut, "not a whole backup"), (tmp_path / "none.tar", "is not there")):
        done = run("db", "restore", str(file), "--replace")
        assert (done.code, why in done.err) == (1, True), done.err
    assert listed(run, "node-01")


def test_a_backup_of_another_appliance_asks_for_its_keys(
    run: Run, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVISIONER_DATA_DIR", str(tmp_path / "other"))
    run("machine", "list")
    done = run("db", "restore", str(backup), "--replace")
    assert done.code == 1
    assert "copy that appliance's keys to" in done.err


def test_a_database_newer_than_the_program_is_refused(run: Run, tmp_path: Path) -> None:
    run("machine", "list")
    with sqlite3.connect(tmp_path / "data" / "provisioner.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    done = run("machine", "list")
    assert (done.code, "newer" in done.err) == (1, True), done.err


def test_a_manifest_says_what_is_in_it(run: Run, backup: Path) -> None:
    with tarfile.open(backup) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        told = json.load(member)
    assert told["engine"] == "sqlite"
    assert set(told["members"]) >= {"database.sqlite"}
    assert not told["with_keys"]


def test_nothing_is_armed_by_a_restore(run: Run, release: Path, tmp_path: Path) -> None:
    run("subnet", "add", "10.12.1.0/24")
    run(
        "machine",
        "add",
        "--name",
        "node-01",
        "--mac",
        "52:54:00:00:00:01",
        "--ip",
        "10.12.1.11",
        "--role",
        "simple",
    )
    run("image", "import", str(release), "--name", "flatcar")
    assert run("machine", "arm", "node-01").code == 0
    run("db", "backup", str(tmp_path / "armed.tar"))
    run("machine", "disarm", "node-01")
    assert run("db", "restore", str(tmp_path / "armed.tar"), "--replace").code == 0
    assert run("machine", "show", "node-01", "--json").json["state"] == "ready"
