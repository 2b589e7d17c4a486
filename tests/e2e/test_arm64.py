"""ARM64 firmware (AAVMF in QEMU) from our DHCP and TFTP through Debian's shim and GRUB to its install's kernel.

Needs `apt install qemu-system-arm qemu-efi-aarch64 debian-installer-12-netboot-arm64`.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, is_root, serving, wait_for
from tests.images.publisher import KERNEL, flatcar
from tests.netns import Wire, sh, wire

AAVMF = Path("/usr/share/AAVMF")
INSTALLER = Path("/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64")
SERVER, MAC, IP = "10.97.11.1", "52:54:00:97:11:01", "10.97.11.21"
_SECONDS = 420.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not is_root(), reason="namespaces and port 67 need root"),
    pytest.mark.skipif(
        not (shutil.which("qemu-system-aarch64") and AAVMF.is_dir() and INSTALLER.is_dir()),
        reason="apt install qemu-system-arm qemu-efi-aarch64 debian-installer-12-netboot-arm64",
    ),
]


def board(cable: Wire, folder: Path) -> list[str]:
    """An ARM64 machine whose only boot device is its NIC."""
    sh("ip", "-n", cable.server, "tuntap", "add", "tap0", "mode", "tap")
    sh("ip", "-n", cable.server, "link", "set", "tap0", "master", "br0", "up")
    for name in ("AAVMF_CODE.fd", "AAVMF_VARS.fd"):
        shutil.copy(AAVMF / name, folder / name)
    return [
        *cable.exec(cable.server), "qemu-system-aarch64", "-M", "virt", "-accel", "tcg,thread=multi",
        "-cpu", "cortex-a57", "-m", "1024", "-display", "none", "-serial", f"file:{folder / 'console'}",
        "-monitor", "none", "-no-reboot",
        "-drive", f"if=pflash,format=raw,readonly=on,file={folder / 'AAVMF_CODE.fd'}",
        "-drive", f"if=pflash,format=raw,file={folder / 'AAVMF_VARS.fd'}",
        "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=n,mac={MAC},bootindex=1,romfile=", "-device", "virtio-rng-pci",
    ]  # fmt: skip


def arm64_release(folder: Path) -> Path:
    """A release whose kernel is Debian's for ARM64."""
    made = flatcar(folder, digests=False)
    shutil.copy(INSTALLER / "linux", made / KERNEL)
    return made


def loaders(assets: Path) -> Path:
    """What `make setup` collects for ARM64."""
    (assets / "build" / "loaders").mkdir(parents=True)
    for name in ("bootnetaa64.efi", "grubaa64.efi"):
        shutil.copy(INSTALLER / name, assets / "build" / "loaders" / name)
    return assets


def reads(appliance: Appliance) -> list[str]:
    return [line.split(",")[0] for line in appliance.messages("node-01") if line.startswith("read ")]


def test_arm64_firmware_is_led_to_the_kernel_of_its_install(tmp_path: Path) -> None:
    assets = loaders(tmp_path / "assets")
    with (
        wire(f"{SERVER}/24") as cable,
        serving(cable, tmp_path, netboot_assets=str(assets)) as appliance,
    ):
        appliance.run("subnet", "add", "10.97.11.0/24", "--gateway", SERVER)
        appliance.run("image", "import", str(arm64_release(tmp_path / "release")), "--name", "flatcar")
        appliance.run("machine", "add", "--name", "node-01", "--mac", MAC, "--ip", IP, "--role", "simple")
        appliance.run("machine", "arm", "node-01")
        argv = board(cable, tmp_path)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
            try:
                wait_for(
                    "the kernel to be read",
                    lambda: any(line.endswith(KERNEL) for line in reads(appliance)),
                    _SECONDS,
                )
            finally:
                qemu.kill()
        shown = reads(appliance)
        assert shown[:2] == ["read bootnetaa64.efi", "read grubaa64.efi"]
        assert "read /debian-installer/arm64/grub/grub.cfg" in shown
        assert appliance.ask("machine", "show", "node-01")["firmware"] == "uefi-arm64"
