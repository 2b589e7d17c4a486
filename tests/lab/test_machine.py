"""What QEMU is asked for, by firmware and boot device."""

from pathlib import Path
from uuid import UUID

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.machine import Cabling, Hardware, LabFirmware, qemu_argv

CABLING = Cabling(Path("/lab/m"), "pl1-wire", "tap0", "tcg,thread=multi")


def argv(firmware: LabFirmware, *, disk_first: bool = False) -> str:
    hardware = Hardware("m", firmware, Mac.parse("52:54:00:00:00:01"), UUID(int=7), "LAB00001")
    return " ".join(qemu_argv(hardware, CABLING, disk_first=disk_first))


@pytest.mark.parametrize("firmware", list(LabFirmware))
def test_every_machine_has_its_identity_and_boots_network_first(firmware):
    text = argv(firmware)
    assert "mac=52:54:00:00:00:01,bootindex=1" in text
    assert "serial=LAB00001,bootindex=2" in text
    assert "-uuid 00000000-0000-0000-0000-000000000007" in text
    assert "-accel tcg,thread=multi" in text
    assert "-no-reboot" in text  # the lab starts QEMU anew itself


def test_bios_boots_by_the_cards_own_rom_and_uefi_by_its_own_stack():
    assert "romfile=" not in argv(LabFirmware.BIOS)
    assert "pflash" not in argv(LabFirmware.BIOS)
    for firmware in (LabFirmware.UEFI, LabFirmware.UEFI_HTTP):
        assert "bootindex=1,romfile= " in argv(firmware) + " "
        assert "file=/lab/m/vars.fd" in argv(firmware)


def test_only_http_boot_switches_pxe_off():
    assert ["PXESupport" in argv(firmware) for firmware in LabFirmware] == [False, False, True, False]


def test_secure_boot_has_firmware_with_keys_that_only_firmware_can_change():
    text = argv(LabFirmware.UEFI_SECURE)
    assert "OVMF_CODE_4M.ms.fd" in text
    assert "-machine smm=on" in text
    assert "property=secure,value=on" in text
    assert "secure" not in argv(LabFirmware.UEFI)


def test_disk_first_swaps_the_order():
    text = argv(LabFirmware.BIOS, disk_first=True)
    assert "mac=52:54:00:00:00:01,bootindex=2" in text
    assert "serial=LAB00001,bootindex=1" in text
