"""A role's offline payload, brought to a machine by the appliance and found on the disk that it installed."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.lab.run import TREE, LabOptions, main

pytestmark = [
    pytest.mark.system,
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (TREE / "netboot_assets/build/images/flatcar/lab").is_dir(),
        reason="`make setup` builds the lab's image",
    ),
]


def from_the_disk(disk: Path, path: str, folder: Path) -> tuple[bytes, str]:
    """A file of the installed root and its mode (octal), read from the machine's disk while nobody boots it."""
    raw, out = folder / "disk.raw", folder / "out"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True, timeout=120)
    told = subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True, text=True, timeout=30)
    root = max(json.loads(told.stdout)["partitiontable"]["partitions"], key=lambda part: int(part["size"]))
    # The machine is switched off in the middle of its life: the journal is not played back here.
    opened = ["debugfs", "-c", f"{raw}?offset={root['start'] * 512}", "-R"]
    subprocess.run([*opened, f"dump {path} {out}"], check=True, capture_output=True, timeout=60)
    stat = subprocess.run([*opened, f"stat {path}"], check=True, capture_output=True, text=True, timeout=60)
    mode = stat.stdout.split("Mode:")[1].split()[0]
    return out.read_bytes(), mode


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_roles_payload_is_on_the_installed_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles, payload, lab = tmp_path / "roles", tmp_path / "payload", tmp_path / "lab"
    shutil.copytree(TREE / "cloud_configs", roles)
    content = os.urandom(300_000)
    digest = hashlib.sha256(content).hexdigest()
    (payload / "tools").mkdir(parents=True)
    (payload / "tools" / "agent").write_bytes(content)
    with (roles / "simple" / "role.yaml").open("a") as role:
        role.write(
            f"payload:\n  - path: tools/agent\n    sha256: {digest}\n    dest: /opt/lab/agent\n    mode: '0755'\n"
        )
    options = LabOptions(
        machines=1, firmware="bios", cloud_configs=roles, payload=payload, json=True, directory=lab, timeout=1300
    )
    assert main(options) == 0, capsys.readouterr().err
    [machine] = json.loads(capsys.readouterr().out.splitlines()[-1])["machines"]
    assert machine["state"] == "active"
    [disk] = lab.rglob("disk.qcow2")
    found, mode = from_the_disk(disk, "/opt/lab/agent", tmp_path)
    assert hashlib.sha256(found).hexdigest() == digest
    assert mode == "0755"
