"""Real firmware reads from the server: OVMF's own PXE stack, then iPXE. DHCP is dnsmasq's here."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns import Wire, sh, wire

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
LOADERS = Path("/usr/lib/ipxe")
OVMF = Path("/usr/share/OVMF")

SERVER = """
import sys, pathlib
from tests.tftp.serving import serving
script = b"#!ipxe\\necho done\\nimgfetch tftp://10.98.9.1/second || shell\\npoweroff\\n"
made = {"boot.ipxe": script, "second": b"x" * 100_000}
root = pathlib.Path(sys.argv[1])
with serving(root, virtual=lambda name, ip, server: made.get(name), listen="10.98.9.1", port=69) as tftp:
    print("up", flush=True)
    tftp.recorder.wait_for("read second", 300)
    print(*(e.message for e in tftp.recorder.events), sep="\\n", flush=True)
"""

IPXE_FIRST = ("--dhcp-boot=tag:ipxe,boot.ipxe,,10.98.9.1", "--dhcp-boot=tag:!ipxe,tag:efi,snponly.efi,,10.98.9.1")
BY_MAC = """
import sys, pathlib
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import State
from provisioner.tftp.virtual import VirtualFiles
from tests.domain.samples import NOW, install, machine, subnet
from tests.tftp.serving import FixedSnapshot, serving
armed = machine(mac="52:54:00:98:09:01", ip="10.98.9.15", state=State.ARMED, install=install())
known = Inventory.build([armed], [subnet("10.98.9.0/24")])
virtual = VirtualFiles(FixedSnapshot(known), lambda: NOW).content
with serving(pathlib.Path(sys.argv[1]), virtual=virtual, inventory=known, listen="10.98.9.1", port=69) as tftp:
    print("up", flush=True)
    tftp.recorder.wait_for("/boot.ipxe", 200)
    print(*(e.message for e in tftp.recorder.events), sep="\\n", flush=True)
"""


@contextmanager
def running(argv: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def dnsmasq(cable: Wire, folder: Path, *boot: str) -> list[str]:
    return [
        *cable.exec(cable.server), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
        "--interface=br0", "--bind-interfaces", "--dhcp-range=10.98.9.10,10.98.9.20,255.255.255.0", "--user=root",
        f"--dhcp-leasefile={folder / 'leases'}", f"--pid-file={folder / 'pid'}", "--dhcp-userclass=set:ipxe,iPXE",
        "--dhcp-match=set:efi,option:client-arch,7", "--dhcp-host=52:54:00:98:09:01,10.98.9.15",
        *(boot or IPXE_FIRST),
    ]  # fmt: skip


def qemu(cable: Wire, folder: Path, *, uefi: bool) -> list[str]:
    sh("ip", "-n", cable.server, "tuntap", "add", "tap0", "mode", "tap")
    sh("ip", "-n", cable.server, "link", "set", "tap0", "master", "br0", "up")
    device = "virtio-net-pci,netdev=n,mac=52:54:00:98:09:01,bootindex=1"
    firmware: list[str] = []
    if uefi:
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", folder / "vars.fd")
        device += ",romfile="
        firmware = [
            "-drive", f"if=pflash,format=raw,readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}",
            "-drive", f"if=pflash,format=raw,file={folder / 'vars.fd'}",
        ]  # fmt: skip
    return [
        *cable.exec(cable.server), "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512",
        "-display", "none", "-serial", "none", "-monitor", "none", "-no-reboot", *firmware,
        "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no", "-device", device,
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


@pytest.mark.rule("tftp-03")
@pytest.mark.rule("tftp-07")
@pytest.mark.rule("tftp-08")
@pytest.mark.parametrize("uefi", [True, False], ids=["ovmf", "bios"])
def test_firmware_and_ipxe_read_what_they_need(tmp_path: Path, uefi: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(LOADERS / "snponly.efi", root)
    with (
        wire("10.98.9.1/24") as cable,
        running(dnsmasq(cable, tmp_path)),
        running([*cable.exec(cable.server), sys.executable, "-c", SERVER, str(root)], cwd=ROOT) as server,
    ):
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        with running(qemu(cable, tmp_path, uefi=uefi)):
            told, _ = server.communicate(timeout=320)
    lines = [line.partition(" ")[2] for line in told.splitlines()]
    reads = [line.split(",")[0].split(":")[0] for line in lines]
    firmware = ["asked for the size of snponly.efi", "read snponly.efi"] if uefi else []
    assert reads == [*firmware, "read boot.ipxe", "read second"], told


def test_pxelinux_finds_its_config_by_mac_and_starts_ipxe_with_its_own_drivers(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for program in (
        Path("/usr/lib/PXELINUX/pxelinux.0"),
        Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"),
        LOADERS / "ipxe.lkrn",
    ):
        shutil.copy(program, root)
    with (
        wire("10.98.9.1/24") as cable,
        running(dnsmasq(cable, tmp_path, "--dhcp-boot=pxelinux.0,,10.98.9.1")),
        running([*cable.exec(cable.server), sys.executable, "-c", BY_MAC, str(root)], cwd=ROOT) as server,
    ):
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        with running(qemu(cable, tmp_path, uefi=False)):
            told, _ = server.communicate(timeout=220)
    reads = [line.split(",")[0] for line in told.splitlines()]
    mac = "52-54-00-98-09-01"
    wanted = ["pxelinux.0", "ldlinux.c32", f"pxelinux.cfg/01-{mac}", "ipxe.lkrn", f"{mac}/boot.ipxe"]
    assert [line.removeprefix("read ") for line in reads if line.startswith("read ")] == wanted, told
