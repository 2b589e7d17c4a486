"""What kind of firmware asks: the client system architecture of DHCP option 93.

Source: RFC 4578 §2.1 and IANA's "Processor Architecture Types".
"""

from dataclasses import dataclass
from enum import StrEnum


class Firmware(StrEnum):
    """What a loader must be built for."""

    BIOS = "bios"
    UEFI_IA32 = "uefi-ia32"
    UEFI_X64 = "uefi-x64"
    UEFI_ARM32 = "uefi-arm32"
    UEFI_ARM64 = "uefi-arm64"
    UEFI_RISCV64 = "uefi-riscv64"
    UEFI_LOONGARCH64 = "uefi-loongarch64"
    ITANIUM = "itanium"
    UNKNOWN = "unknown"


# IANA gives 9 to EBC, but firmware sends both 7 and 9 for x86-64 (dhcp-26).
_ARCHITECTURES: dict[int, tuple[Firmware, bool]] = {
    0: (Firmware.BIOS, False),
    2: (Firmware.ITANIUM, False),
    6: (Firmware.UEFI_IA32, False),
    7: (Firmware.UEFI_X64, False),
    9: (Firmware.UEFI_X64, False),
    10: (Firmware.UEFI_ARM32, False),
    11: (Firmware.UEFI_ARM64, False),
    15: (Firmware.UEFI_IA32, True),
    16: (Firmware.UEFI_X64, True),
    17: (Firmware.UEFI_X64, True),
    18: (Firmware.UEFI_ARM32, True),
    19: (Firmware.UEFI_ARM64, True),
    20: (Firmware.BIOS, True),
    27: (Firmware.UEFI_RISCV64, False),
    28: (Firmware.UEFI_RISCV64, True),
    39: (Firmware.UEFI_LOONGARCH64, False),
    40: (Firmware.UEFI_LOONGARCH64, True),
    41: (Firmware.UEFI_ARM64, False),  # rpiboot
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One recognised value of option 93."""

    number: int
    firmware: Firmware
    http: bool


def architecture(numbers: tuple[int, ...]) -> Architecture | None:
    """The first architecture we know of those that the client lists (dhcp-26), or None."""
    for number in numbers:
        if known := _ARCHITECTURES.get(number):
            return Architecture(number, *known)
    return None
