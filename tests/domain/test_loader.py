"""Which program a machine's firmware loads first."""

import pytest

from provisioner.domain.boot import loader_for
from provisioner.domain.firmware import Firmware

THERE = frozenset({"undionly.kpxe", "snponly.efi", "pxelinux.0"})


@pytest.mark.parametrize(
    ("firmware", "wanted", "loader", "why"),
    [
        (Firmware.BIOS, "", "undionly.kpxe", "boot file undionly.kpxe because its firmware is bios"),
        (Firmware.UEFI_X64, "", "snponly.efi", "boot file snponly.efi because its firmware is uefi-x64"),
        (Firmware.BIOS, "pxelinux.0", "pxelinux.0", "boot file pxelinux.0 because its label 'loader' says so"),
        (Firmware.BIOS, "lpxelinux.0", None, "loader lpxelinux.0, which its label 'loader' names, is not there"),
        (
            Firmware.UEFI_X64,
            "shimx64.efi",
            None,
            "loader shimx64.efi, which its label 'loader' names, is not there; install",
        ),
        (
            Firmware.UEFI_ARM64,
            "",
            None,
            "loader bootnetaa64.efi is not there; install Debian's debian-installer-12-",
        ),
        (Firmware.UEFI_IA32, "", None, "no loader exists here for uefi-ia32 firmware"),
    ],
)
def test_the_loader_follows_the_firmware_unless_the_machine_names_one(
    firmware: Firmware, wanted: str, loader: str | None, why: str
) -> None:
    chosen, reason = loader_for(firmware, THERE, wanted)
    assert chosen == loader
    assert reason.startswith(why)
