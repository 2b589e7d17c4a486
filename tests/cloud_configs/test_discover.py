"""``discover``: what its script finds on a tree that looks like a machine's /sys and /proc, and what it posts."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from provisioner.boot.compile import RoleCompiler
from provisioner.domain.errors import Refused
from tests.cloud_configs.shipped import FOLDER, images, rendered


def _write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.system
def test_it_tells_every_nic_disk_and_serial_as_json_and_lets_the_machine_boot_its_disk(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "sys/class/net/eth0/address": "52:54:00:12:34:01\n",
            "sys/class/net/eth0/carrier": "1\n",
            "sys/class/net/eth0/speed": "10000\n",
            "sys/class/net/eth0/device/x": "",
            "sys/class/net/eth1/address": "52:54:00:12:34:02\n",
            "sys/class/net/eth1/device/x": "",
            "sys/class/net/lo/address": "00:00:00:00:00:00\n",
            "sys/block/sda/size": "2048\n",
            "sys/block/sda/device/model": 'ACME "Big" \\ Disk   \n',
            "sys/block/sda/queue/rotational": "1\n",
            "sys/class/dmi/id/product_serial": "SN-1\n",
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: ACME 9000\nprocessor\t: 1\nmodel name\t: ACME 9000\n",
            "proc/meminfo": "MemTotal:        1048576 kB\n",
        },
    )
    (tmp_path / "bin").mkdir()
    lan = "IP Address              : 10.12.9.1\nMAC Address             : 52:54:00:99:00:01\n"
    programs = {
        "ip": "",
        "systemctl": f'echo "systemctl $*" >>{tmp_path}/calls',
        "ipmitool": f"cat <<'END'\n{lan}END",
        "curl": f'for last; do :; done; echo "${{last##*/}}" >>{tmp_path}/calls; '
        f'while [ $# -gt 1 ]; do [ "$1" != --data-binary ] || printf "%s\\n" "$2" >>{tmp_path}/posted; shift; done',
    }
    for name, body in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PROVISIONER_SYS": str(tmp_path / "sys"),
        "PROVISIONER_PROC": str(tmp_path / "proc"),
        "PROVISIONER_PAUSE": "0",
    }
    script = rendered("discover")[0].files["install.sh"].decode()
    subprocess.run(["bash", "-c", script], env=environment, timeout=30, check=True, capture_output=True)
    assert (tmp_path / "calls").read_text().split("\n")[:4] == ["progress", "log", "complete", "systemctl reboot"]
    _, found, _ = map(json.loads, (tmp_path / "posted").read_text().splitlines())
    assert [(nic["name"], nic["mac"], nic["link"], nic["speed"]) for nic in found["nics"]] == [
        ("eth0", "52:54:00:12:34:01", True, 10000),
        ("eth1", "52:54:00:12:34:02", False, None),
    ]
    (disk,) = found["disks"]
    assert (disk["bytes"], disk["model"], disk["rotational"]) == (2048 * 512, 'ACME "Big" \\ Disk', True)
    assert found["cpu"] == {"model": "ACME 9000", "threads": 2}
    assert (found["memory_kib"], found["serial"], found["firmware"]) == (1048576, "SN-1", "bios")
    assert found["ipmi_lan"] == {"address": "10.12.9.1", "mac": "52:54:00:99:00:01"}


def test_a_machine_that_nobody_armed_is_told_how_it_comes_to_be_looked_at() -> None:
    with pytest.raises(Refused) as refusal:
        RoleCompiler(FOLDER, images).discovery()
    assert refusal.value.problem == "role discover has kernel arguments for a machine that is armed"
    assert "`provisioner machine install` it" in refusal.value.remedy
