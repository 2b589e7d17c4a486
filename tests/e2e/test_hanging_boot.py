"""A machine that hangs on its way to the installer is switched off and on by its BMC, twice, and then installs.

The hang is real: QEMU is stopped (SIGSTOP) as soon as the witness has seen the firmware ask for an address. So it
looks when firmware dies in the middle of its boot.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_rack import Lab, end, start

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2700)]
HANGS = 2
PATIENCE = 600.0
"""Six minutes of silence are a hang (domain.progress); the rest is for a busy host."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    options = ("--machines", "1", "--firmware", "bios", "--keep", "--timeout", "2400")
    lab = start(tmp_path / "lab", *options)
    try:
        yield lab
    finally:
        end(lab)


def _boots(lab: Lab) -> int:
    """How often the machine's firmware asked for an address, as the witness saw it."""
    seen = lab.directory / "witness.jsonl"
    lines = seen.read_text().splitlines()[:-1] if seen.exists() else []
    return sum(json.loads(line)["what"] == "firmware" for line in lines)


def _qemu(lab: Lab) -> int | None:
    """The process that is the machine."""
    disk = str(lab.directory / "bios-1" / "disk.qcow2").encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if words.startswith(b"qemu-system") and disk in words:
            return int(process.name)
    return None


def _hang(lab: Lab, after: set[int]) -> int:
    """Wait for the next boot of the machine, in a process that is none of ``after``, and stop it in its tracks."""
    until, asked = time.monotonic() + PATIENCE, _boots(lab)
    while time.monotonic() < until:
        assert lab.process.poll() is None, lab.log()
        pid = _qemu(lab)
        if pid is not None and pid not in after and _boots(lab) > asked:
            os.kill(pid, signal.SIGSTOP)
            return pid
        time.sleep(0.02)
    raise AssertionError(f"the machine did not boot:\n{lab.log()}")


def _said(lab: Lab) -> list[str]:
    try:
        return [event["message"] for event in lab.ask("machine", "events", "node-01", "--limit", "500")]
    except (ValueError, RuntimeError):  # the rack is still being built
        return []


@pytest.mark.rule("fault-15")
def test_a_machine_that_hangs_is_power_cycled_twice_and_then_arrives(lab: Lab) -> None:
    hung: set[int] = set()
    for left in range(HANGS - 1, -1, -1):
        hung.add(_hang(lab, hung))
        until, wanted = (
            time.monotonic() + PATIENCE,
            f"switching its power for another try, {left} more after this one",
        )
        while not any(wanted in said for said in _said(lab)):
            assert time.monotonic() < until, f"nobody switched its power: {_said(lab)}"
            time.sleep(2)
    (machine,) = lab.result(1200)
    assert (machine["state"], machine.get("error", "")) == ("active", ""), lab.log()
    assert sum("switching its power" in said for said in _said(lab)) == HANGS
    assert "install script handed out, attempt 1 of 3" in " / ".join(_said(lab))
