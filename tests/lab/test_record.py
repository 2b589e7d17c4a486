"""Labs are found again by another process, and only those whose owner is gone are taken for leftovers."""

import os
import subprocess
from dataclasses import replace

from provisioner.lab import record


def test_a_lab_of_this_process_is_alive_and_no_leftover(tmp_path):
    written = record.write("pltest-a", ("pltest-a-wire",), tmp_path / "lab", ours=True, records=tmp_path)
    assert record.labs(tmp_path) == [written]
    assert written.alive
    assert record.take_down_leftovers(tmp_path) == []
    assert record.labs(tmp_path) == [written]


def test_a_reused_pid_is_not_mistaken_for_the_owner(tmp_path):
    written = record.write("pltest-b", (), tmp_path / "lab", ours=True, records=tmp_path)
    assert not replace(written, born=written.born - 1).alive


def test_a_lab_whose_owner_ended_is_removed_with_its_own_directory_only(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name, ours in (("pltest-c", True), ("pltest-d", False)):
        (tmp_path / name).mkdir()
        record.write(name, (), tmp_path / name, ours=ours, records=tmp_path)
        file = tmp_path / f"{name}.json"
        file.write_text(file.read_text().replace(f'"owner": {os.getpid()}', f'"owner": {ended.pid}'))
    assert record.take_down_leftovers(tmp_path) == ["pltest-c", "pltest-d"]
    assert record.labs(tmp_path) == []
    assert not (tmp_path / "pltest-c").exists()
    assert (tmp_path / "pltest-d").exists()


def test_a_damaged_record_hides_no_other(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    written = record.write("pltest-e", (), tmp_path, ours=False, records=tmp_path)
    assert record.labs(tmp_path) == [written]
