"""Debian's and Ubuntu's installers: the scripts that choose the disk and finish, run against a tree of files."""

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud_configs.shipped import cluster_of, compile_for, rendered

GIB = 2**30


class _Appliance(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted, as the appliance would."""

    said: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.said.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def said() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Where to post (HOST:PORT), and what was."""
    handler = type("Handler", (_Appliance,), {"said": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", handler.said
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Machine:
    """Disks as files, and stand-ins for the installer's own programs."""

    def __init__(self, root: Path, address: str) -> None:
        self.root, self.address = root, address
        for folder in ("sys", "dev", "bin"):
            (root / folder).mkdir()
        self.program("blkid", 'for last; do :; done; [ ! -s "$last" ] || echo "$last: TYPE=ntfs"')
        self.program("debconf-set", f'echo "$1=$2" >>{root}/debconf')
        self.program("mount", "exit 1")
        self.program("sleep", 'case $1 in 3600) kill -9 "$PPID" ;; esac')

    def program(self, name: str, body: str) -> None:
        file = self.root / "bin" / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def disk(self, name: str, size: int, *, foreign: bool = False, removable: bool = False) -> None:
        block = self.root / "sys" / name
        block.mkdir()
        for key, value in (("size", size // 512), ("ro", 0), ("removable", int(removable))):
            (block / key).write_text(f"{value}\n")
        (self.root / "dev" / name).write_text("data" if foreign else "")

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        script = script.replace("@@SERVER@@", self.address)
        (self.root / "script").write_text(script)
        environment = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "PROVISIONER_SYS_BLOCK": str(self.root / "sys"),
            "PROVISIONER_DEVICES": str(self.root / "dev"),
            "PROVISIONER_AUTOINSTALL": str(self.root / "autoinstall.yaml"),
        }
        command = ["sh", str(self.root / "script")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def _script(role: str, part: str, **params: Any) -> str:
    files = compile_for(*cluster_of(role, params=params)).files if params else rendered(role)[0].files
    return files[part].decode()


def test_ubuntus_disk_is_the_smallest_that_is_large_enough(tmp_path: Path, said: Any) -> None:
    address, posts = said
    machine = Machine(tmp_path, address)
    machine.disk("sda", 900 * GIB)
    machine.disk("sdb", 100 * GIB)
    machine.disk("sdc", 4 * GIB)
    machine.disk("sdd", 16 * GIB, removable=True)
    machine.disk("loop0", 50 * GIB)
    (tmp_path / "autoinstall.yaml").write_text(_script("ubuntu", "user-data"))
    done = machine.run(_script("ubuntu", "disk.sh"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"path: {tmp_path}/dev/sdb\n" in (tmp_path / "autoinstall.yaml").read_text()
    assert [(path.rsplit("/", 1)[1], body["phase"]) for path, body in posts] == [
        ("progress", "disk"),
        ("progress", "image"),
    ]


def test_foreign_data_stops_the_installer_and_is_reported(tmp_path: Path, said: Any) -> None:
    address, posts = said
    machine = Machine(tmp_path, address)
    machine.disk("sda", 100 * GIB, foreign=True)
    (tmp_path / "autoinstall.yaml").write_text("path: /dev/chosen-by-disk-sh\n")
    done = machine.run(_script("ubuntu", "disk.sh"))
    assert done.returncode != 0
    assert (tmp_path / "autoinstall.yaml").read_text() == "path: /dev/chosen-by-disk-sh\n"
    (path, body) = posts[-1]
    assert path.endswith("/failed")
    assert body["phase"] == "disk"
    assert "holds foreign data" in body["reason"]
    assert "TYPE=ntfs" in body["reason"]


def test_no_disk_is_reported_too(tmp_path: Path, said: Any) -> None:
    address, posts = said
    machine = Machine(tmp_path, address)
    machine.disk("sda", 1 * GIB)
    assert machine.run(_script("ubuntu", "disk.sh")).returncode != 0
    assert posts[-1][1]["reason"] == "no disk fits smallest (USB left out); the rule is install_disk in the role"


def test_what_hangs_on_usb_is_no_disk_even_if_it_calls_itself_fixed(tmp_path: Path, said: Any) -> None:
    address, _ = said
    machine = Machine(tmp_path, address)
    machine.disk("sdb", 100 * GIB)
    machine.disk("sda", 32 * GIB)
    bus = tmp_path / "devices" / "pci0000:00" / "usb2" / "2-1" / "block"
    bus.mkdir(parents=True)
    (tmp_path / "sys" / "sda").rename(bus / "sda")
    (tmp_path / "sys" / "sda").symlink_to(bus / "sda")
    (tmp_path / "autoinstall.yaml").write_text("path: /dev/chosen-by-disk-sh\n")
    assert machine.run(_script("ubuntu", "disk.sh")).returncode == 0
    assert (tmp_path / "autoinstall.yaml").read_text() == f"path: {tmp_path}/dev/sdb\n"


@pytest.mark.system
def test_a_disk_of_which_blkid_cannot_tell_what_it_holds_is_foreign(tmp_path: Path, said: Any) -> None:
    """Two file systems in one place, as a disk has that was used twice: blkid prints nothing and ends with 8."""
    address, posts = said
    machine = Machine(tmp_path, address)
    machine.disk("sda", 100 * GIB)
    (tmp_path / "bin" / "blkid").unlink()
    disk = tmp_path / "dev" / "sda"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(disk)], check=True, timeout=30)
    with disk.open("r+b") as file:
        file.write(b"hsqs")  # squashfs 4.0
        file.seek(28)
        file.write(b"\4\0\0\0")
    script = _script("ubuntu", "disk.sh").replace("blkid -p", "/sbin/blkid -p")
    (tmp_path / "autoinstall.yaml").write_text("path: /dev/chosen-by-disk-sh\n")
    assert machine.run(script).returncode != 0
    assert "holds foreign data" in posts[-1][1]["reason"]


def test_the_partitions_of_another_disk_say_nothing_about_this_one(tmp_path: Path, said: Any) -> None:
    address, _ = said
    machine = Machine(tmp_path, address)
    machine.disk("sda", 100 * GIB)
    (tmp_path / "dev" / "sdaa1").write_text("data of the 27th disk")
    (tmp_path / "autoinstall.yaml").write_text("path: /dev/chosen-by-disk-sh\n")
    assert machine.run(_script("ubuntu", "disk.sh")).returncode == 0


def test_debians_disk_answers_the_installers_questions_and_posts_by_nc(tmp_path: Path, said: Any) -> None:
    address, posts = said
    machine = Machine(tmp_path, address)
    machine.disk("vda", 20 * GIB)
    host, port = address.split(":")
    # busybox nc's arguments are HOST PORT; the appliance of this test listens elsewhere than on 80.
    machine.program("nc", f'exec bash -c "exec 3<>/dev/tcp/{host}/{port}; cat >&3; head -n 1 <&3"')
    done = machine.run(_script("debian", "disk.sh"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "debconf").read_text() == (
        f"partman-auto/disk={tmp_path}/dev/vda\ngrub-installer/bootdev={tmp_path}/dev/vda\n"
    )
    assert posts[-1][1] == {
        "phase": "image",
        "message": f"the installer partitions {tmp_path}/dev/vda and fetches packages",
    }


def test_preseed_asks_nothing_of_a_person() -> None:
    text = _script("debian", "preseed.cfg", mirror_host="mirror.example", packages=["vim", "nvme-cli"])
    assert "d-i mirror/http/hostname string mirror.example\n" in text
    assert "d-i pkgsel/include string openssh-server curl sudo vim nvme-cli\n" in text
    assert "d-i passwd/root-login boolean false\n" in text
    kernel = _script("debian", "boot.ipxe")
    assert "BOOTIF=01-52-54-00-12-34-01 " in kernel
    assert "hostname=node1 " in kernel


@pytest.mark.system
def test_debconf_itself_accepts_the_preseed() -> None:
    text = _script("debian", "preseed.cfg")
    command = ["debconf-set-selections", "--checkonly"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_network_without_a_name_server_does_not_make_the_installer_ask() -> None:
    # Seen in the lab: without this Debian's installer stops at a question before it fetches the preseed.
    assert "netcfg/get_nameservers=10.12.1.253 " in _script("debian", "boot.ipxe")


def test_ubuntu_boots_the_iso_of_its_image() -> None:
    kernel = _script("ubuntu", "boot.ipxe")
    assert "url=http://@@SERVER@@:8081/images/ubuntu/1.2.3/ubuntu-24.04-live-server-amd64.iso " in kernel


def test_the_installed_systems_get_their_static_address_and_the_word_home() -> None:
    for role in ("debian", "ubuntu"):
        late = _script(role, "late.sh")
        assert "Address=10.12.1.1/24\n" in late
        assert "http://@@SERVER@@/m/@@MACHINE_TOKEN@@/active" in late
        assert "http://@@SERVER@@/b/@@INSTALL_TOKEN@@/complete" in late
