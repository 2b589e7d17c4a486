"""The lab's own reader of cloud-configs, which shares no code with the appliance, agrees with what is rendered."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READER = ROOT / "netboot_assets" / "lab-image" / "coreos_cloudinit.py"
GOLDEN = ROOT / "tests" / "golden" / "boot"


@pytest.mark.system
@pytest.mark.parametrize("part", ["pxe.yml", "config.yml"])
@pytest.mark.parametrize("role", ["simple", "worker"])
def test_the_labs_reader_finds_no_fault(role: str, part: str) -> None:
    # Debian's own interpreter: the reader is written for the live image, with Debian's yaml.
    command = ["/usr/bin/python3", str(READER), "--from-file", str(GOLDEN / role / part), "--validate"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


@pytest.mark.system
def test_the_labs_reader_applies_what_the_worker_is_to_become(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    command = ["/usr/bin/python3", str(READER), "--from-file", str(GOLDEN / "worker" / "config.yml")]
    run = subprocess.run(
        [*command, "--root", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "etc/hostname").read_text() == "node2\n"
    assert (tmp_path / "etc/worker/peers").read_text() == (
        "# Members of cluster blue: address, name\n10.12.1.2 node2\n10.12.1.3 node3\n"
    )
    assert (tmp_path / "etc/worker/labels").read_text() == "zone=a\ndisk='ssd fast'\n"
    assert (
        tmp_path / "etc/docker/daemon.json"
    ).read_text() == '{"registry-mirrors": ["http://mirror.example:5000"]}\n'
    assert "systemctl --no-block start provisioner-active.service" in run.stdout
    assert "ExecStart=/usr/bin/curl" in (tmp_path / "etc/systemd/system/provisioner-active.service").read_text()
