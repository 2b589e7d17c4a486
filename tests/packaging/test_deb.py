"""The Debian package on a fresh Debian 12 whose own systemd runs it: installed, started, upgraded, removed."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging import chroot
from tests.packaging.booted import ADDRESS, Booted, booted
from tests.packaging.chroot import TREE, Chroot

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

_MAC = "52:54:00:00:00:11"
_SERVICES = ("packets", "web", "images", "bmc")
_GET = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=10) as got:
        print(got.status, got.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code, refused.read().decode())
"""
_DISCOVER = """
import sys
from scapy.all import BOOTP, DHCP, IP, UDP, Ether, conf, mac2str, srp1
conf.checkIPaddr = False  # The answer is broadcast.
mac = sys.argv[1]
ask = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
ask /= BOOTP(chaddr=mac2str(mac), xid=7, flags=0x8000)
ask /= DHCP(options=[("message-type", "discover"), ("vendor_class_id", b"PXEClient:Arch:00007"),
                     (93, b"\\x00\\x07"), "end"])
got = srp1(ask, iface="far", timeout=5, verbose=False, filter="udp and port 68")
print(got[BOOTP].yiaddr)
"""


@pytest.fixture(scope="module")
def package() -> Path:
    """Built from this tree."""
    done = subprocess.run([TREE / ".setup" / "deb.sh"], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return TREE / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[Chroot]:
    with chroot.fresh(tmp_path_factory.mktemp("server") / "root") as made:
        made.install("systemd", "systemd-sysv", "dbus", "iproute2")
        shutil.copy(package, made.inside("/root"))
        said = made.run(
            "apt-get", "install", "-y", "-qq", "--no-install-recommends", f"/root/{package.name}"
        ).stdout
        assert "provisioner: nothing is served yet." in said
        yield made


@pytest.fixture(scope="module")
def server(debian: Chroot) -> Iterator[Booted]:
    with booted(debian) as system:
        yield system


@pytest.fixture(scope="module")
def started(server: Booted) -> Booted:
    """As the package's own advice says, step by step."""
    assert ":67 " not in server.run("ss", "-Hlntu").stdout
    steps = _typed("packaging.md")
    assert steps.pop(0).startswith("apt-get install")  # Done: no network reaches into this server.
    server.run("provisioner", "user", "add", "night-shift", "--password-stdin", data="a long enough word\n")
    for step in steps:
        server.run("sh", "-c", step)
    server.run(
        "sh", "-c", f"printf 'name,mac,ip\\nnode-11,{_MAC},10.98.0.11\\n' >/root/rack.csv; chmod 600 /root/rack.csv"
    )
    assert (
        server.run("provisioner", "machine", "import", "/root/rack.csv").stdout
        == "1 added, 0 changed, 0 unchanged\n"
    )
    _until_served(server)
    return server


def _typed(document: str) -> list[str]:
    """The shell lines of a document."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (TREE / "docs" / document).read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def _until_served(server: Booted) -> None:
    server.until(
        "sh", "-c", "ss -Hlntu | grep -q ':67 ' && ss -Hlnt | grep -q ':8081 ' && ss -Hlnt | grep -q ':8080 '"
    )


_LISTENING = "ss -Hlntu | awk '{print $5}'"


def _get(server: Booted, url: str) -> str:
    return server.run("python3", "-c", _GET, url).stdout


def _status(server: Booted, service: str) -> dict[str, str]:
    pid = server.run("systemctl", "show", "-P", "MainPID", f"provisioner-{service}.service").stdout.strip()
    return dict(
        line.split(":\t", 1)
        for line in server.run("cat", f"/proc/{pid}/status").stdout.splitlines()
        if ":\t" in line
    )


def test_a_machine_is_offered_its_address(started: Booted) -> None:
    got = subprocess.run(
        ["nsenter", "-t", str(started.pid), "-n", sys.executable, "-c", _DISCOVER, _MAC],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert got.stdout == "10.98.0.11\n"


def test_the_page_and_the_machines_are_answered_where_they_should_be(started: Booted) -> None:
    assert _get(started, "http://127.0.0.1:8080/healthz").startswith("200 ")
    assert _get(started, f"http://{ADDRESS}/boot.ipxe?mac={_MAC}").startswith("200 #!ipxe")
    # Port 80 is opened for all addresses; only the wire's is answered on.
    assert _get(started, "http://127.0.0.1/boot.ipxe") == f"421 machines are served at {ADDRESS}\n\n"


def test_the_doctor_run_by_root_finds_nothing_wrong(started: Booted) -> None:
    findings = json.loads(started.run("provisioner", "doctor", "--json").stdout)
    assert [finding["says"] for finding in findings if finding["level"] == "problem"] == []
    (fetched,) = [finding["says"] for finding in findings if finding["check"] == "fetch"]
    assert re.fullmatch(r"boot files fetched .*: (\d+) by TFTP, \1 by HTTP", fetched)
    (dhcp,) = [finding for finding in findings if finding["check"] == "other-dhcp"]
    assert dhcp["says"] == "no other DHCP server answers on eth1"


@pytest.mark.rule("threat-12")
def test_each_service_has_the_rights_it_needs_and_no_others(started: Booted) -> None:
    low_ports_and_raw_frames = 1 << 10 | 1 << 13
    for service in _SERVICES:
        status = _status(started, service)
        wanted = low_ports_and_raw_frames if service == "packets" else 0
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {wanted}, service
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), service
        assert "0" not in status["Uid"].split(), service


def test_what_root_did_belongs_to_the_service(started: Booted) -> None:
    assert started.run("find", "/var/lib/provisioner", "!", "-user", "provisioner").stdout == ""
    started.run("provisioner", "db", "backup")
    assert started.run("find", "/var/lib/provisioner", "!", "-user", "provisioner").stdout == ""


def test_a_user_without_rights_is_told_so(started: Booted) -> None:
    done = started.run("su", "nobody", "-s", "/bin/sh", "-c", "provisioner machine list", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "provisioner: data_dir '/var/lib/provisioner' cannot be used by this user (Permission denied); "
        "run as its owner or as root: `sudo provisioner …`, or set data_dir in --config\n",
    )


def test_a_start_returns_when_every_port_is_served(started: Booted) -> None:
    """Type=notify: what comes after it in a script need not wait."""
    started.run("systemctl", "restart", "provisioner.target")
    listening = started.run("sh", "-c", _LISTENING).stdout
    assert {
        port for port in (67, 69, 80, 8080, 8081) if not re.search(rf":{port}$", listening, re.MULTILINE)
    } == set()
    states = started.run(
        "systemctl", "show", "-P", "SubState", *(f"provisioner-{name}" for name in _SERVICES)
    ).stdout
    assert states.split() == ["running"] * len(_SERVICES)


def test_a_service_that_is_killed_is_back(started: Booted) -> None:
    before = _status(started, "packets")["Pid"]
    started.run("sh", "-c", f"kill -KILL {before}")
    shown = "systemctl show -P MainPID provisioner-packets.service"
    started.until("sh", "-c", f"pid=$({shown}); [ $pid != {before} ] && [ $pid != 0 ]")
    _until_served(started)


def test_a_backup_is_made_and_restored_as_the_docs_say(started: Booted) -> None:
    for line in _typed("backup.md"):
        started.run("sh", "-c", line)
    _until_served(started)
    assert "node-11" in started.run("provisioner", "machine", "list").stdout


def test_an_upgrade_keeps_what_is_there_and_has_a_way_back(started: Booted, debian: Chroot, package: Path) -> None:
    newer = _newer(package, debian.inside("/root"))
    started.run("dpkg", "-i", f"/root/{newer.name}")
    started.until("sh", "-c", "provisioner db upgrade | grep -q 'revision 9999'")
    _until_served(started)
    (machine,) = json.loads(started.run("provisioner", "machine", "list", "--json").stdout)
    assert (machine["name"], machine["ip"]) == ("node-11", "10.98.0.11")
    (backup,) = started.run("sh", "-c", "echo /var/lib/provisioner/backups/before-upgrade-from-*").stdout.split()

    # An older program refuses the newer database; the backup made before the upgrade is the way back.
    started.run("systemctl", "stop", "provisioner.target")
    started.run("dpkg", "--force-downgrade", "-i", f"/root/{package.name}")
    refused = started.run("provisioner", "machine", "list", check=False)
    assert refused.returncode == 1
    assert "the database is at revision 9999, this program knows up to" in refused.stderr
    started.run("provisioner", "db", "restore", backup, "--replace")
    started.run("systemctl", "start", "provisioner.target")
    _until_served(started)
    assert _get(started, f"http://{ADDRESS}/boot.ipxe?mac={_MAC}").startswith("200 #!ipxe")


def _newer(package: Path, folder: Path) -> Path:
    """The same program with a higher version and one migration more."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True, timeout=120)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: (.*)$", r"Version: \1+next", control.read_text(), flags=re.MULTILINE))
    (versions,) = tree.glob("usr/lib/provisioner/lib/python3*/site-packages/provisioner/_migrations/versions")
    head = max(file.name.split("_")[0] for file in versions.glob("[0-9]*.py"))
    (versions / "9999_next.py").write_text(
        f'revision, down_revision = "9999", "{head}"\n\n\ndef upgrade() -> None:\n'
        '    from alembic import op\n\n    op.execute("CREATE TABLE next (id INTEGER)")\n'
    )
    newer = folder / "provisioner_next.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(newer)], check=True, timeout=120,
        capture_output=True,
    )  # fmt: skip
    return newer


def test_removed_it_leaves_the_data_and_purged_nothing(started: Booted) -> None:
    """Last: nothing is served after it."""
    started.run("dpkg", "--remove", "provisioner")
    assert started.run("sh", "-c", "ss -Hlntu | grep -E ':(67|69|80|8080|8081) '", check=False).stdout == ""
    started.run("test", "-e", "/var/lib/provisioner/provisioner.db")
    started.run("test", "-e", "/etc/provisioner/provisioner.toml")
    started.run("dpkg", "--purge", "provisioner")
    places = "/var/lib/provisioner /etc/provisioner /usr/lib/provisioner /etc/systemd/system/*/provisioner*"
    assert started.run("sh", "-c", f"ls -d {places} 2>/dev/null", check=False).stdout == ""
