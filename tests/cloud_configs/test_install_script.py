"""install.sh run for real on a workbench: order, choice of disk, refusals, payload, failures that are told."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.rack import SHIPPED, compiler, inventory, machine
from tests.cloud_configs.bench import MIB, TOKEN, Bench

pytestmark = pytest.mark.system
MARKER = b"provisioner install of 52:54:00:12:34:01 unfinished\n"


def compiled(folder: Path = SHIPPED) -> dict[str, bytes]:
    node = machine(1)
    maker = compiler(folder)
    try:
        return dict(maker.compile(node, inventory(node)).files)
    finally:
        maker.close()


def role_with(tmp_path: Path, lines: str) -> Path:
    """The shipped roles, with ``simple`` changed: a line replaces the one with its key, or is added."""
    folder = tmp_path / "roles"
    shutil.copytree(SHIPPED, folder)
    path = folder / "simple" / "role.yaml"
    text = path.read_text()
    for block in lines.strip("\n").split("\n\n"):
        key = block.split(":", 1)[0]
        kept, skipping = [], False
        for line in text.splitlines():
            skipping = line.startswith(f"{key}:") or (skipping and line.startswith((" ", "\t")))
            if not skipping:
                kept.append(line)
        text = "\n".join(kept) + f"\n{block}\n"
    path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return compiled(SHIPPED)


@pytest.fixture
def bench(tmp_path: Path, files: dict[str, bytes]) -> Iterator[Bench]:
    folder = tmp_path / "bench"
    folder.mkdir()
    with Bench(folder) as made:
        made.files = {f"/b/{TOKEN}/{name}": data for name, data in files.items()}
        yield made


def small_disks(tmp_path: Path, more: str = "") -> bytes:
    """install.sh of a role that takes disks as small as the bench's."""
    rule = "install_disk:\n  rule: smallest\n  min_size: 16MiB"
    return compiled(role_with(tmp_path, f"{rule}\n\n{more}" if more else rule))["install.sh"]


def test_an_install_goes_through_every_phase_in_order_and_ends_with_a_restart(bench: Bench, tmp_path: Path) -> None:
    disk = bench.disk()
    run = bench.run(small_disks(tmp_path))
    assert run.returncode == 0, run.stdout
    assert bench.phases() == ["clock", "disk", "image", "payload", "written", "reboot"]
    assert bench.reports[-1] == (f"/b/{TOKEN}/complete", {})
    assert bench.calls()[-1] == "systemctl reboot"
    assert "date --utc --set=Wed, 04 Mar 2026 05:06:07 GMT" in bench.calls()
    (installer,) = [call for call in bench.calls() if call.startswith("flatcar-install")]
    assert f"-d {disk} -b http://127.0.0.1:" in installer
    assert "/images/flatcar -V 3815.2.0 -c " in installer
    assert (bench.folder / "config-given").read_bytes() == bench.files[f"/b/{TOKEN}/config.yml"]
    assert (bench.root / "etc/hostname").read_text() == "node1\n"
    network = bench.root / "etc/systemd/network/00-provisioner.network"
    assert network.read_bytes() == bench.files[f"/b/{TOKEN}/network"]
    assert "image written" in bench.only("log")
    assert any(body.get("percent") == 40 for path, body in bench.reports if path.endswith("/progress"))
    assert MARKER not in disk.read_bytes()


@pytest.mark.rule("fault-13")
def test_an_install_whose_every_report_is_lost_still_ends(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.lose_reports = True
    run = bench.run(small_disks(tmp_path), PROVISIONER_PAUSE="0.01", PROVISIONER_COMPLETE_SECONDS="1")
    assert run.returncode == 0, run.stdout
    assert "(the completion could not be reported)" in run.stdout
    assert bench.calls()[-1] == "systemctl reboot"


@pytest.mark.rule("fault-13")
def test_an_appliance_that_restarts_still_learns_that_the_install_is_complete(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.lose_next["complete"] = 30
    assert bench.run(small_disks(tmp_path), PROVISIONER_PAUSE="0.01").returncode == 0
    assert bench.only("complete") == {}


def test_what_the_appliance_refuses_is_not_said_again(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.refuse["complete"] = 403
    run = bench.run(small_disks(tmp_path))
    assert run.returncode == 0
    assert bench.asked.count("complete") == 1
    assert "(refused by the appliance: 403)" in run.stdout


@pytest.mark.rule("threat-01")
def test_an_install_that_was_called_off_meanwhile_wipes_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.signatures("ntfs\n")
    del bench.files[f"/b/{TOKEN}/config.yml"]
    assert bench.run(small_disks(tmp_path, "wipe: foreign"), PROVISIONER_PAUSE="0.01").returncode == 1
    assert bench.only("failed")["phase"] == "disk"
    assert not any(call.startswith(("flatcar-install", "wipefs --all")) for call in bench.calls())


def test_a_percentage_is_a_number_however_the_installer_writes_it(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    installer = (bench.bin / "flatcar-install").read_text()
    bench.program("flatcar-install", installer.replace("40%", "007%"))
    assert bench.run(small_disks(tmp_path)).returncode == 0
    assert any(body.get("percent") == 7 for path, body in bench.reports if path.endswith("/progress"))


def test_a_disk_with_foreign_data_is_refused_and_untouched(bench: Bench, tmp_path: Path) -> None:
    disk = bench.disk()
    bench.signatures("ext4\n")
    before = disk.read_bytes()
    run = bench.run(small_disks(tmp_path))
    assert run.returncode == 1
    told = bench.only("failed")
    assert told["phase"] == "disk"
    assert f"{disk} holds foreign data ({disk}: ext4)" in told["reason"]
    assert "wipe: foreign in role simple" in told["reason"]
    assert disk.read_bytes() == before
    assert not any(call.startswith(("flatcar-install", "systemctl", "wipefs --all")) for call in bench.calls())
    assert "holds foreign data" in bench.only("log")


@pytest.mark.parametrize("policy", ["foreign", "always"])
def test_foreign_data_is_wiped_when_the_role_says_so(bench: Bench, tmp_path: Path, policy: str) -> None:
    disk = bench.disk()
    bench.signatures("ntfs\n")
    run = bench.run(small_disks(tmp_path, f"wipe: {policy}"))
    assert run.returncode == 0, run.stdout
    calls = bench.calls()
    assert calls.index(f"wipefs --all --quiet {disk}") < next(
        i for i, call in enumerate(calls) if call.startswith("flatcar-install")
    )


def test_an_install_that_was_cut_off_is_recognised_and_repeated(bench: Bench, tmp_path: Path) -> None:
    """The power fails while the image is written: the disk then holds half of our own image."""
    script = small_disks(tmp_path)
    disk = bench.disk()
    (bench.folder / "installer-fails").touch()
    assert bench.run(script).returncode == 1
    assert MARKER in disk.read_bytes()
    bench.signatures("gpt\n")
    (bench.folder / "installer-fails").unlink()
    bench.reports.clear()
    run = bench.run(script)
    assert run.returncode == 0, run.stdout
    assert bench.reports[-1] == (f"/b/{TOKEN}/complete", {})
    messages = [body["message"] for path, body in bench.reports if path.endswith("/progress")]
    assert f"an earlier install of this machine was cut off here; {disk} is installed again" in messages


@pytest.mark.parametrize(("mac", "accepted"), [("52:54:00:12:34:01", True), ("52:54:00:12:34:02", False)])
def test_a_finished_install_is_ours_only_on_its_own_machine(
    bench: Bench, tmp_path: Path, mac: str, accepted: bool
) -> None:
    disk = bench.disk()
    bench.signatures("gpt\n")
    (bench.folder / "partitions").write_text(f"{disk}p1 part\n")
    (bench.root / "etc/provisioner").mkdir(parents=True)
    (bench.root / "etc/provisioner/machine").write_text(f"{mac}\n")
    assert bench.run(small_disks(tmp_path)).returncode == (0 if accepted else 1)


def test_a_failing_installer_is_reported_with_command_and_last_lines(bench: Bench, tmp_path: Path) -> None:
    disk = bench.disk()
    (bench.folder / "installer-fails").touch()
    run = bench.run(small_disks(tmp_path))
    assert run.returncode == 1
    told = bench.only("failed")
    assert told["phase"] == "image"
    first, *rest = told["reason"].split("\n")
    assert first == f"flatcar-install -d {disk} -V 3815.2.0 ended with status 3"
    assert "bunzip2: data integrity error" in rest
    assert "stays up" in run.stdout
    assert not any(call.startswith("systemctl") for call in bench.calls())


def test_any_other_failing_command_is_reported_once_and_shows_no_token(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.program("mount", "#!/bin/bash\necho 'mount: wrong \"fs\" type, \\t\\033[1mbad' >&2\nexit 32\n")
    assert bench.run(small_disks(tmp_path)).returncode == 1
    told = bench.only("failed")
    assert told["phase"] == "image"
    assert 'mount "$partition" "$root" ended with status 32' in told["reason"]
    assert 'wrong "fs" type' in told["reason"]
    assert TOKEN not in told["reason"]
    assert TOKEN not in bench.only("log")


def test_a_failing_program_inside_a_substitution_is_reported_once(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.program("lsblk", "#!/bin/bash\necho 'lsblk: no /sys' >&2\nexit 1\n")
    assert bench.run(small_disks(tmp_path)).returncode == 1
    assert bench.only("failed")["phase"] == "disk"
    assert "lsblk: no /sys" in bench.only("failed")["reason"]


def test_payload_lands_in_the_installed_system_with_its_mode(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    data = os.urandom(100_000)
    bench.files["/payload/tools/agent.tar"] = data
    digest = hashlib.sha256(data).hexdigest()
    place = "dest: /opt/agent/agent.tar\n    mode: '0750'"
    payload = f"payload:\n  - path: tools/agent.tar\n    sha256: {digest}\n    {place}"
    run = bench.run(small_disks(tmp_path, payload))
    assert run.returncode == 0, run.stdout
    placed = bench.root / "opt/agent/agent.tar"
    assert placed.read_bytes() == data
    assert placed.stat().st_mode & 0o7777 == 0o750


def test_payload_with_another_sha256_fails_and_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.disk()
    bench.files["/payload/agent"] = b"not what the role says"
    payload = f"payload:\n  - path: agent\n    sha256: {'f' * 64}\n    dest: /opt/agent"
    assert bench.run(small_disks(tmp_path, payload)).returncode == 1
    told = bench.only("failed")
    assert told["phase"] == "payload"
    actual = hashlib.sha256(b"not what the role says").hexdigest()
    assert told["reason"].startswith(f"payload agent has sha256 {actual}, the role says {'f' * 64}")
    assert list((bench.root / "opt").iterdir()) == []


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        ("smallest", "sdb"),
        ("largest", "sdc"),
        ("first", "sda"),
        ("by-id:*-DATA", "sdc"),
        ("by-id:*", "several disks match by-id:*"),
        ("by-id:nothing*", "no disk matches by-id:nothing*"),
        ("/dev/not-there", "disk /dev/not-there is not there"),
    ],
)
def test_the_rule_chooses_the_disk(bench: Bench, tmp_path: Path, rule: str, chosen: str) -> None:
    for name, size in (("sda", 64), ("sdb", 32), ("sdc", 96), ("sdd", 8)):
        bench.disk(name, size * MIB)
    bench.disk("usb", 20 * MIB, 'RO="0" RM="1"')
    bench.disk("usb-that-calls-itself-fixed", 20 * MIB, 'RO="0" RM="0" TRAN="usb"')
    bench.disk("cdrom", 20 * MIB, 'RO="1" RM="0"')
    links = bench.folder / "by-id"
    links.mkdir()
    (links / "ata-SYSTEM").symlink_to(bench.folder / "sda")
    (links / "ata-DATA").symlink_to(bench.folder / "sdc")
    (links / "wwn-DATA").symlink_to(bench.folder / "sdc")
    (links / "ata-DATA-part1").symlink_to(bench.folder / "sda")
    roles = role_with(tmp_path, f"install_disk:\n  rule: '{rule}'\n  min_size: 16MiB")
    run = bench.run(compiled(roles)["install.sh"])
    if chosen.startswith("sd"):
        assert run.returncode == 0, run.stdout
        messages = [body["message"] for path, body in bench.reports if path.endswith("/progress")]
        size = (bench.folder / chosen).stat().st_size // MIB
        assert f"chose {bench.folder / chosen}, {size} MiB" in messages
    else:
        assert run.returncode == 1
        assert chosen in bench.only("failed")["reason"]


def test_no_disk_large_enough_says_how_large(bench: Bench) -> None:
    bench.disk(size=32 * MIB)
    assert bench.run(compiled()["install.sh"]).returncode == 1
    assert "no disk of at least 1073741824 bytes" in bench.only("failed")["reason"]


def test_shellcheck_has_nothing_to_say(tmp_path: Path, files: dict[str, bytes]) -> None:
    if shutil.which("shellcheck") is None:
        pytest.fail("shellcheck is missing; make setup installs it")
    path = tmp_path / "install.sh"
    path.write_bytes(files["install.sh"])
    run = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == ""
    assert run.returncode == 0
