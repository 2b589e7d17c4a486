"""Ignition and Butane: what is accepted here is accepted by the publisher's own validator, and faults are named."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provisioner.boot import ignition
from provisioner.boot.document import InvalidDocument
from provisioner.boot.ignition_schema import data_of
from provisioner.boot.roles import RoleFolder
from provisioner.boot.trial import try_role
from provisioner.domain.errors import NotFound
from tests.boot.rack import SHIPPED

IGNITION_ROLES = [
    name
    for name in RoleFolder(SHIPPED).names()
    if RoleFolder(SHIPPED).get(name).settings.format in ("butane", "ignition")
]
HEAD = "variant: flatcar\nversion: 1.0.0\n"
UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"

COMPLETE = """\
variant: fcos
version: 1.4.0
ignition:
  config:
    merge:
      - source: http://192.0.2.1/more.ign
        verification: {hash: sha256-SHA}
  timeouts: {http_response_headers: 10, http_total: 60}
  security:
    tls:
      certificate_authorities:
        - inline: "-----BEGIN CERTIFICATE-----"
kernel_arguments:
  should_exist: [mitigations=auto]
  should_not_exist: [quiet]
passwd:
  users:
    - name: core
      ssh_authorized_keys: [ssh-ed25519 AAAA core@example]
      groups: [docker]
  groups:
    - {name: ops, gid: 1200}
storage:
  disks:
    - device: /dev/sda
      wipe_table: true
      partitions:
        - {number: 1, label: data, size_mib: 100, start_mib: 1}
  raid:
    - {name: data, level: raid1, devices: [/dev/sdb, /dev/sdc]}
  filesystems:
    - {device: /dev/disk/by-partlabel/data, format: ext4, path: /var/data, label: data, mount_options: [noatime]}
  luks:
    - {name: secret, device: /dev/sdd, key_file: {inline: passphrase}}
  directories:
    - {path: /var/data/a, mode: 0755, user: {name: core}}
  files:
    - path: /etc/motd
      mode: 0644
      overwrite: true
      contents: {inline: "a b%c #;\\n"}
    - path: /etc/more
      append: [{inline: "x"}]
  links:
    - {path: /etc/localtime, target: /usr/share/zoneinfo/UTC}
systemd:
  units:
    - name: a.service
      enabled: true
      contents: "UNIT"
      dropins:
        - {name: 10-a.conf, contents: "[Service]\\nRestart=no\\n"}
""".replace("SHA", "0" * 64).replace("UNIT", UNIT.replace("\n", "\\n"))


def publisher_says(text: str, tmp_path: Path) -> str:
    """Empty if ``ignition-validate`` takes it without a word, else what it says."""
    if shutil.which("ignition-validate") is None:
        pytest.skip("no ignition-validate; `make setup-test`")
    file = tmp_path / "config.ign"
    file.write_text(text)
    done = subprocess.run(["ignition-validate", str(file)], capture_output=True, text=True, timeout=20, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        ignition.transpiled(text, "config.bu")
    return [str(problem) for problem in caught.value.problems]


def test_everything_butane_knows_without_sugar_becomes_what_the_publisher_accepts(tmp_path: Path) -> None:
    made = ignition.transpiled(COMPLETE, "config.bu")
    assert publisher_says(made, tmp_path) == ""
    config: dict[str, Any] = json.loads(made)
    assert config["ignition"]["version"] == "3.3.0"
    assert config["kernelArguments"] == {"shouldExist": ["mitigations=auto"], "shouldNotExist": ["quiet"]}
    assert config["storage"]["disks"][0]["partitions"][0]["sizeMiB"] == 100
    motd = config["storage"]["files"][0]
    assert (motd["mode"], data_of(motd["contents"]["source"])) == (0o644, b"a b%c #;\n")
    assert ignition.problems(made, "ignition.json") == []


@pytest.mark.parametrize("name", IGNITION_ROLES)
def test_every_shipped_ignition_role_is_accepted_by_the_publisher(name: str, tmp_path: Path) -> None:
    def none(image: str, version: str | None) -> object:
        raise NotFound("image", image)

    compiled, _ = try_role(RoleFolder(SHIPPED), name, none)  # type: ignore[arg-type]
    for part in ("pxe.ign", "ignition.json"):
        assert publisher_says(compiled.files[part].decode(), tmp_path) == ""
    assert "@@INSTALL_TOKEN@@" not in compiled.files["ignition.json"].decode()
    assert "@@MACHINE_TOKEN@@" in compiled.files["ignition.json"].decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1.0.0\n", "config.bu: variant: is missing; write one of flatcar, fcos"),
        ("variant: rhcos\nversion: 1.0.0\n", "config.bu:1: variant: 'rhcos' is not transpiled here; write one of"),
        (
            "variant: fcos\nversion: 1.5.0\n",
            "config.bu:2: version: '1.5.0' is not transpiled here; variant fcos is",
        ),
        (
            HEAD + "storage:\n  trees:\n    - local: x\n",
            "config.bu:4: storage.trees: is outside the subset of Butane that is transpiled here",
        ),
        (
            HEAD + "storage:\n  files:\n    - path: /a\n      contents:\n        local: x\n",
            "config.bu:7: storage.files[0].contents.local: is outside the subset",
        ),
        (
            HEAD + "storage:\n  filesystems:\n    - {device: /dev/a, with_mount_unit: true}\n",
            "config.bu:5: storage.filesystems[0].with_mount_unit: is outside the subset",
        ),
        (HEAD + "boot_device: {layout: x86_64}\n", "config.bu:3: boot_device: is outside the subset"),
        (HEAD + "systemd:\n  unit: []\n", "config.bu:4: systemd.unit: unknown key; did you mean 'units'?"),
        (HEAD + "kernel_arguments: {}\n", "config.bu:3: kernel_arguments: Flatcar takes none from Ignition"),
        (
            HEAD + "storage:\n  files:\n    - path: etc/a\n",
            "config.bu:5: storage.files[0].path: 'etc/a' is not an absolute path",
        ),
        (
            HEAD + "storage:\n  files:\n    - path: /a\n    - path: /a\n",
            "config.bu:6: storage.files[1].path: '/a' is already in storage.files[0]; keep one",
        ),
        (
            HEAD + "storage:\n  files:\n    - path: /a\n      mode: 01000000\n",
            "config.bu:6: storage.files[0].mode: 262144",
        ),
        (
            HEAD + "systemd:\n  units:\n    - name: a\n",
            "config.bu:5: systemd.units[0].name: 'a' is not a unit name",
        ),
        (
            HEAD
            + "systemd:\n  units:\n    - name: a.service\n      contents: |\n        [Service]\n        Exec\n",
            "config.bu:6: systemd.units[0].contents: line 2 of the unit: 'Exec' is neither [Section] nor Key=Value",
        ),
        (
            HEAD + "systemd:\n  units:\n    - name: a.service\n      enabled: true\n      contents: '[Service]'\n",
            "config.bu:6: systemd.units[0].enabled: has no effect on a unit without an [Install] section",
        ),
        (
            HEAD + "passwd:\n  users:\n    - name: Core\n",
            "config.bu:5: passwd.users[0].name: 'Core' is not an account",
        ),
        (HEAD + "a: [\n", "config.bu:4: not YAML"),
    ],
)
def test_a_butane_fault_is_named_with_its_line_and_key(text: str, says: str) -> None:
    assert faults(text)[0].startswith(says)


def config(**sections: Any) -> dict[str, Any]:
    return {"ignition": {"version": "3.3.0"}, **sections}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"ignition": {"version": "3.9.0"}},
        config(storage={"files": [{"path": "a"}]}),
        config(storage={"files": [{"path": "/a"}, {"path": "/a"}]}),
        config(storage={"files": [{"path": "/a", "mode": "0644"}]}),
        config(storage={"files": [{"path": "/a", "contents": {"source": "ftp://a/b"}}]}),
        config(storage={"files": [{"path": "/a", "contents": {"verification": {"hash": "md5-1"}}}]}),
        config(storage={"disks": [{"device": "sda"}]}),
        config(storage={"links": [{"path": "/a"}]}),
        config(systemd={"units": [{"name": "a"}]}),
        config(systemd={"units": [{"name": "a.service"}, {"name": "a.service"}]}),
    ],
)
def test_what_the_publisher_refuses_is_refused_here(broken: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(broken)
    assert publisher_says(text, tmp_path) != ""
    assert ignition.problems(text, "config.ign") != []


def test_ignition_that_is_no_json_is_named_with_its_line() -> None:
    (problem,) = ignition.problems('{"ignition":\n {"version": }}', "config.ign")
    assert str(problem).startswith("config.ign:2: not JSON")
