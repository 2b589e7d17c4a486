"""The whole way by real firmware, as a user runs it: ``provisioner lab run`` (see also tests/e2e/test_rack.py)."""

import json
import subprocess
import sys

import pytest

from provisioner.lab.run import TREE, LabOptions, main
from tests.lab.test_rack import traces

pytestmark = [
    pytest.mark.system,
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (TREE / "netboot_assets/build/images/flatcar/lab").is_dir(),
        reason="`make setup` builds the lab's image",
    ),
]


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.rule("fault-13")
def test_a_mixed_rack_installs_itself_and_boots_its_disks_ever_after(tmp_path, capsys):
    """BIOS and UEFI's own PXE, both network first for ever; after the install one more power cycle."""
    assert main(LabOptions(machines=2, json=True, power_cycle=True, directory=tmp_path)) == 0, (
        capsys.readouterr().err
    )
    machines = json.loads(capsys.readouterr().out.splitlines()[-1])["machines"]
    assert {(m["name"], m["firmware"], m["state"], m["role"], m["ip"]) for m in machines} == {
        ("node-01", "bios", "active", "simple", "10.77.0.11"),
        ("node-02", "uefi", "active", "simple", "10.77.0.12"),
    }


@pytest.mark.long
@pytest.mark.timeout(900)
def test_uefi_http_boot_arrives_through_the_command_line(tmp_path):
    """As a user does it: exit code, the closing line of JSON, nothing left behind."""
    lab = tmp_path / "lab"
    argv = ["lab", "run", "--machines", "1", "--firmware", "uefi-http", "--json", "--directory", str(lab)]
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", *argv], capture_output=True, text=True, timeout=880, check=False
    )
    assert done.returncode == 0, done.stderr
    [machine] = json.loads(done.stdout.splitlines()[-1])["machines"]
    assert set(machine) == {"name", "state", "ip", "role", "firmware", "seconds"}
    assert (machine["state"], machine["firmware"]) == ("active", "uefi-http")
    name = done.stderr.split()[1].rstrip(":")
    assert traces(name) == []
    assert "first login" in done.stderr


@pytest.mark.timeout(600)
def test_a_wrong_mac_in_a_fru_makes_the_run_fail_and_say_so(tmp_path, capsys):
    assert main(LabOptions(machines=1, firmware="bios", wrong_mac=True, json=True, directory=tmp_path)) == 1
    printed = capsys.readouterr()
    [machine] = json.loads(printed.out.splitlines()[-1])["machines"]
    assert machine["state"] == "armed"
    assert "the FRU is wrong" in machine["error"]
    assert "the FRU is wrong" in printed.err


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.rule("fault-13")
def test_with_every_callback_lost_a_machine_installs_a_bounded_number_of_times(tmp_path, capsys):
    """install.sh is handed out as often as the role allows, then the machine is failed and boots its disk."""
    options = LabOptions(
        machines=1, firmware="bios", drop_callbacks=True, json=True, directory=tmp_path, timeout=2200
    )
    assert main(options) == 1
    [machine] = json.loads(capsys.readouterr().out.splitlines()[-1])["machines"]
    assert machine["state"] == "failed"
    assert "attempts" in machine["error"]
