"""The lab image's cloud-config reader, run from its recipe the way the image runs it: as a program."""

import base64
import gzip
import subprocess
import sys
from pathlib import Path

import pytest

READER = Path(__file__).parents[2] / "netboot_assets/lab-image/coreos_cloudinit.py"


def run(tmp_path: Path, config: str, *options: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "user_data"
    file.write_text(config)
    command = [sys.executable, READER, "--from-file", file, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def apply(tmp_path: Path, config: str) -> tuple[Path, list[str]]:
    """The root it was applied to and what it said; fails the test if it failed."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True, exist_ok=True)
    done = run(tmp_path, config, "--root", str(root))
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done.stdout.splitlines()


def systemctl(said: list[str]) -> list[str]:
    return [line.removeprefix("systemctl ") for line in said if line.startswith("systemctl ")]


def test_hostname_is_cut_at_the_first_dot(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, "#cloud-config\nhostname: node-1.rack.example\n")
    assert (root / "etc/hostname").read_text() == "node-1\n"


@pytest.mark.parametrize("permissions", ['"0640"', "0640", '"640"'])
def test_permissions_are_octal_quoted_or_not(tmp_path: Path, permissions: str) -> None:
    config = f"#cloud-config\nwrite_files:\n  - path: /opt/f\n    permissions: {permissions}\n    content: hi\n"
    root, _ = apply(tmp_path, config)
    assert (root / "opt/f").read_text() == "hi"
    assert (root / "opt/f").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("base64", base64.b64encode(b"\x00payload").decode()),
        ("b64", base64.b64encode(b"\x00payload").decode()),
        ("gzip+base64", base64.b64encode(gzip.compress(b"\x00payload", mtime=0)).decode()),
        ("gz+b64", base64.b64encode(gzip.compress(b"\x00payload", mtime=0)).decode()),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, content: str) -> None:
    config = f"#cloud-config\nwrite_files:\n  - path: /f\n    encoding: {encoding}\n    content: {content}\n"
    root, _ = apply(tmp_path, config)
    assert (root / "f").read_bytes() == b"\x00payload"


def test_scalars_stay_as_written(tmp_path: Path) -> None:
    """YAML 1.1 would read the MAC as a base-60 number and `no` as false."""
    config = (
        "#cloud-config\nwrite_files:\n  - {path: /mac, content: 52:54:00:12:34:56}\n  - {path: /no, content: no}\n"
    )
    root, _ = apply(tmp_path, config)
    assert (root / "mac").read_text() == "52:54:00:12:34:56"
    assert (root / "no").read_text() == "no"


UNITS = """#cloud-config
coreos:
  units:
    - name: setup.service
      command: start
      enable: true
      content: "[Service]\\nExecStart=/bin/true\\n"
      drop-ins:
        - {name: 10-x.conf, content: "[Service]\\n"}
    - {name: 00-static.network, runtime: true, content: "[Match]\\nType=ether\\n"}
    - {name: update-engine.service, mask: true, command: stop}
"""


def test_units_are_all_written_before_systemd_is_told(tmp_path: Path) -> None:
    root, said = apply(tmp_path, UNITS)
    assert (root / "etc/systemd/system/setup.service").read_text() == "[Service]\nExecStart=/bin/true\n"
    assert (root / "etc/systemd/system/setup.service.d/10-x.conf").exists()
    assert (root / "run/systemd/network/00-static.network").exists()
    assert (root / "etc/systemd/system/update-engine.service").readlink() == Path("/dev/null")
    assert systemctl(said) == [
        "daemon-reload",
        "enable setup.service",
        "restart systemd-networkd.service",
        "--no-block start setup.service",
        "--no-block stop update-engine.service",
    ]


def test_applying_twice_changes_nothing(tmp_path: Path) -> None:
    """The installed system does it at every boot."""

    def files(root: Path) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    config = UNITS + "hostname: a\nusers:\n  - {name: op, passwd: $6$x, groups: [core]}\nssh_authorized_keys: [k]\n"
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/group").write_text("core:x:500:\n")
    root, _ = apply(tmp_path, config)
    first = files(root)
    apply(tmp_path, config)
    assert files(root) == first


def test_keys_create_the_core_user(tmp_path: Path) -> None:
    root, _ = apply(tmp_path, "#cloud-config\nssh_authorized_keys:\n  - ssh-ed25519 AAAA a\n  - ssh-rsa BBBB b\n")
    assert (root / "home/core/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA a\nssh-rsa BBBB b\n"
    assert "core:x:500:500::/home/core:/bin/bash" in (root / "etc/passwd").read_text()
    assert (root / "etc/shadow").stat().st_mode & 0o777 == 0o600


def test_what_the_lab_has_not_is_noted(tmp_path: Path) -> None:
    _, said = apply(tmp_path, "#cloud-config\ncoreos:\n  update: {reboot-strategy: off}\n  flannel: {iface: a}\n")
    notes = [line for line in said if "note:" in line]
    assert [note.split()[2] for note in notes] == ["coreos.flannel", "coreos.update"]


def test_a_daemons_section_becomes_the_environment_of_its_unit(tmp_path: Path) -> None:
    root, _ = apply(
        tmp_path,
        "#cloud-config\ncoreos:\n  etcd2: {name: a, listen-peer-urls: 'http://192.0.2.1:2380', proxy: on}\n",
    )
    assert (root / "run/systemd/system/etcd2.service.d/20-cloudinit.conf").read_text() == (
        '[Service]\nEnvironment="ETCD_NAME=a"\nEnvironment="ETCD_LISTEN_PEER_URLS=http://192.0.2.1:2380"\n'
        'Environment="ETCD_PROXY=on"\n'
    )


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        ("hostnam: a\n", 'line 2: warning: unrecognized key "hostnam"'),
        ("coreos:\n  units:\n  - nam: a\n", 'line 4: warning: unrecognized key "nam"'),
        ("hostname: [a]\n", 'line 2: warning: incorrect type for "hostname" (want string)'),
        ("coreos:\n  units:\n  - {name: a, command: launch}\n", "line 4: error: invalid value launch"),
        (
            "write_files:\n- path: /usr/bin/x\n",
            "line 3: error: file cannot be written to a read-only filesystem",
        ),
        (
            "write_files:\n- path: /x\n  encoding: base64\n  content: '*'\n",
            'line 5: error: content cannot be decoded as "base64"',
        ),
    ],
)
def test_validate_uses_the_publishers_words(tmp_path: Path, body: str, finding: str) -> None:
    done = run(tmp_path, "#cloud-config\n" + body, "--validate")
    assert (done.returncode, done.stdout) == (1, finding + "\n")


def test_validate_is_silent_about_a_good_config(tmp_path: Path) -> None:
    done = run(tmp_path, UNITS, "-validate")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unknown_key_is_reported_and_the_rest_applied(tmp_path: Path) -> None:
    root, said = apply(tmp_path, "#cloud-config\nmystery: 1\nhostname: a\n")
    assert said[0] == 'line 2: warning: unrecognized key "mystery"'
    assert (root / "etc/hostname").exists()


@pytest.mark.parametrize("config", ["", "hostname: a\n", "#!/bin/sh\n", "#cloud-config\na: [\n"])
def test_what_is_no_cloud_config_changes_nothing(tmp_path: Path, config: str) -> None:
    done = run(tmp_path, config, "--root", str(tmp_path / "root"))
    assert done.returncode == 1
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("path", ["relative", "/etc/../../escape"])
def test_paths_stay_below_the_root(tmp_path: Path, path: str) -> None:
    done = run(tmp_path, f"#cloud-config\nwrite_files:\n- path: {path}\n", "--root", str(tmp_path / "root"))
    assert done.returncode == 1
    assert "is not an absolute path" in done.stdout
