"""A power-on played through: who asks what, and that each answer is the server's own."""

from ipaddress import IPv4Address

import pytest

from provisioner.dhcp.packet import decode
from provisioner.dhcp.rehearsal import Exchange, Rom, rehearse
from provisioner.dhcp.respond import handle
from provisioner.domain.mac import Mac

from .rack import CONTEXT, IP, MAC, NOW, RACK, STRANGER


def talk(rom: Rom, mac: Mac = MAC) -> list[Exchange]:
    return rehearse(mac, rom, RACK, CONTEXT, NOW)


@pytest.mark.parametrize(
    ("rom", "loader", "arch"),
    [
        (Rom.BIOS, b"undionly.kpxe", "bios"),
        (Rom.UEFI_X64, b"snponly.efi", "uefi-x64"),
        (Rom.HTTP_X64, b"http://10.98.0.1/loaders/snponly.efi", "uefi-x64"),
    ],
)
def test_the_firmware_gets_its_loader_and_the_loader_its_script(rom: Rom, loader: bytes, arch: str) -> None:
    exchanges = talk(rom)
    assert [(exchange.who, exchange.asked) for exchange in exchanges] == [
        ("firmware", "DISCOVER"),
        ("firmware", "REQUEST"),
        ("iPXE", "DISCOVER"),
        ("iPXE", "REQUEST"),
    ]
    answers = [exchange.answer for exchange in exchanges]
    assert {answer.yiaddr for answer in answers if answer} == {IP}
    assert answers[1] is not None
    assert answers[1].file == loader
    assert answers[3] is not None
    assert answers[3].file.startswith(b"http://10.98.0.1/boot.ipxe?mac=52-54-00-98-00-17&")
    assert answers[3].file.endswith(f"&arch={arch}".encode())


def test_each_answer_is_what_the_server_sends() -> None:
    for exchange in talk(Rom.BIOS):
        sent = handle(exchange.question, RACK, CONTEXT, NOW).reply
        assert sent is not None
        assert exchange.decision.reply == sent


def test_it_ends_where_the_machine_would() -> None:
    assert [exchange.who for exchange in talk(Rom.UEFI_ARM64)] == ["firmware", "firmware"]
    (ignored,) = talk(Rom.BIOS, STRANGER)
    assert ignored.answer is None
    assert "unknown MAC" in ignored.decision.reason
    asked = decode(ignored.question)
    assert (asked.mac, asked.yiaddr) == (STRANGER, IPv4Address(0))
