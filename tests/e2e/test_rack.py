"""A rack of real firmware installs itself: the appliance is told BMCs only (see provisioner/lab).

One rack for all three kinds of firmware, kept running so that its machines can be power-cycled; one rack that
loses every callback.
"""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import record
from tests.netns import sh

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

ROLES = Path("cloud_configs")


@dataclass
class Lab:
    """A ``provisioner lab run`` in a process of its own."""

    process: subprocess.Popen[str]
    directory: Path
    lines: list[str]

    def result(self, seconds: float) -> list[dict[str, Any]]:
        """The machines of the closing JSON line."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.lines:
                if line.startswith('{"machines"'):
                    machines: list[dict[str, Any]] = json.loads(line)["machines"]
                    return machines
            if self.process.poll() is not None and not any("machines" in line for line in self.lines):
                time.sleep(0.5)
                if not any(line.startswith('{"machines"') for line in self.lines):
                    break
            time.sleep(0.5)
        raise AssertionError(f"the lab gave no result:\n{self.log()}")

    def ask(self, *words: str) -> Any:
        """A ``provisioner`` command inside the appliance's namespace."""
        (lab,) = [one for one in record.labs() if one.owner == self.process.pid]
        config = self.directory / "appliance" / "provisioner.toml"
        argv = [sys.executable, "-m", "provisioner", "--config", str(config), *words, "--json"]
        return json.loads(sh("ip", "netns", "exec", lab.namespaces[0], *argv, timeout=120).stdout)

    def log(self) -> str:
        return (self.directory.parent / f"{self.directory.name}.err").read_text()[-4000:]


def start(directory: Path, *options: str) -> Lab:
    argv = [sys.executable, "-m", "provisioner", "lab", "run", "--json", "--directory", str(directory), *options]
    with (directory.parent / f"{directory.name}.err").open("wb") as err:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err, text=True)
    lab = Lab(process, directory, [])
    assert process.stdout is not None
    stdout = process.stdout
    threading.Thread(target=lambda: lab.lines.extend(stdout), daemon=True).start()
    return lab


def end(lab: Lab) -> None:
    """Ctrl-C, as a person would; nothing of the lab may be left."""
    namespaces = next((one.namespaces for one in record.labs() if one.owner == lab.process.pid), ())
    lab.process.send_signal(signal.SIGINT)
    lab.process.wait(90)
    left = sh("ip", "netns", "list").stdout
    assert not [name for name in namespaces if name in left]


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = start(tmp_path_factory.mktemp("rack") / "lab", "--machines", "3", "--firmware", "all", "--keep")
    try:
        yield lab
    finally:
        end(lab)


def test_every_kind_of_firmware_installs_and_runs_from_its_own_disk(rack: Lab) -> None:
    machines = rack.result(1200)
    assert [(m["firmware"], m["state"], m.get("error", "")) for m in machines] == [
        ("bios", "active", ""),
        ("uefi", "active", ""),
        ("uefi-http", "active", ""),
    ], rack.log()
    assert [m["ip"] for m in machines] == ["10.77.0.11", "10.77.0.12", "10.77.0.13"]


def test_the_timeline_tells_every_step_with_its_reason(rack: Lab) -> None:
    rack.result(1200)
    for name, loader in (("node-01", None), ("node-02", "snponly.efi"), ("node-03", "snponly.efi")):
        events = rack.ask("machine", "events", name, "--limit", "500")
        phases = [event["phase"] for event in events if event["phase"]]
        for phase in ("firmware", "loader", "kernel", "config", "clock", "disk", "image", "written"):
            assert phase in phases or (phase == "firmware" and loader is None), (name, phase)
        said = " / ".join(event["message"] for event in events)
        assert "install script handed out, attempt 1 of 3" in said
        assert "the installed system reported in" in said
        if loader:
            assert f"boot file {loader}" in said or f"loaders/{loader}" in said


def test_machines_that_boot_network_first_find_their_disk_after_a_power_cycle(rack: Lab) -> None:
    names = [machine["name"] for machine in rack.result(1200)]
    before = {name: _reports(rack, name) for name in names}
    assert rack.ask("machine", "power", "cycle", *names)["state"] == "done"
    until = time.monotonic() + 500
    waiting = set(names)
    while waiting and time.monotonic() < until:
        time.sleep(5)
        waiting -= {name for name in waiting if _reports(rack, name) > before[name]}
    assert not waiting, rack.log()
    for machine in rack.ask("machine", "list"):
        assert (machine["state"], machine["attempts"]) == ("active", 1)
        events = rack.ask("machine", "events", machine["name"], "--limit", "500")
        assert any("boots its own disk" in event["message"] for event in events)


def test_with_every_callback_lost_a_machine_installs_n_times_and_then_boots_its_disk(tmp_path: Path) -> None:
    roles = tmp_path / "roles"
    shutil.copytree(ROLES, roles)
    simple = roles / "simple" / "role.yaml"
    simple.write_text(simple.read_text().replace("max_attempts: 3", "max_attempts: 2"))
    # Whether it stops repeating its last report is for the script's own tests: three minutes, twice.
    script = roles / "_shared" / "install.sh.j2"
    script.write_text(script.read_text().replace("COMPLETE_SECONDS:-180", "COMPLETE_SECONDS:-5"))
    options = ("--machines", "1", "--firmware", "bios", "--drop-callbacks", "--cloud-configs", str(roles))
    lab = start(tmp_path / "lab", *options, "--keep")
    try:
        (machine,) = lab.result(1200)
        assert machine["state"] == "failed", lab.log()
        (listed,) = lab.ask("machine", "list")
        assert (listed["attempts"], listed["state"]) == (2, "failed")
        assert "2 attempts" in listed["reason"]
        events = lab.ask("machine", "events", "node-01", "--limit", "500")
        handed = [event for event in events if "install script handed out, attempt" in event["message"]]
        assert len(handed) == 2
    finally:
        end(lab)


def _reports(lab: Lab, name: str) -> int:
    """How often the installed system said that it runs; repeats within seconds are counted in one event."""
    events = lab.ask("machine", "events", name, "--limit", "1000")
    return sum(1 for event in events if event["kind"] == "report.active")
