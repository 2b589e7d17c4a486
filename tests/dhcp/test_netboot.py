"""What netboot clients are given to load, and in which words."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from provisioner.domain.firmware import Firmware
from provisioner.domain.machine import Phase

from .rack import (
    ACK,
    CONTEXT,
    IP,
    NEAR,
    NODE,
    REQUEST,
    SERVER,
    UUID97,
    Asker,
    ask,
    granted,
    http_client,
    ipxe,
    pxe,
    rack,
)


@pytest.mark.rule("dhcp-25")
@pytest.mark.rule("dhcp-26")
@pytest.mark.rule("dhcp-27")
@pytest.mark.rule("dhcp-31")
@pytest.mark.parametrize(
    ("arch", "loader", "firmware"),
    [(0, b"undionly.kpxe", "bios"), (7, b"snponly.efi", "uefi-x64"), (9, b"snponly.efi", "uefi-x64")],
)
def test_a_rom_is_given_the_loader_for_its_firmware(arch: int, loader: bytes, firmware: str) -> None:
    decision, offer = ask(pxe(arch))
    assert offer is not None
    assert offer.yiaddr == IP
    assert offer.file == loader
    assert offer.options[67] == loader + b"\0"
    assert offer.siaddr == SERVER
    assert offer.options[66] == b"10.98.0.1"
    assert offer.options[60] == b"PXEClient"
    assert offer.options[43] == b"\x06\x01\x08\xff"
    assert offer.options[97] == UUID97
    assert 13 not in offer.options
    assert decision.reason == (
        f"asked for an address; offered 10.98.0.17, boot file {loader.decode()} because its firmware is {firmware}"
    )
    assert (decision.phase, decision.firmware) == (Phase.FIRMWARE, Firmware(firmware))


@pytest.mark.rule("dhcp-27")
def test_the_ack_says_the_same_as_the_offer() -> None:
    offer = granted(pxe(7))
    ack = granted(pxe(7), REQUEST, {50: IP.packed, 54: SERVER.packed})
    assert {**offer.options, 53: ACK} == ack.options
    assert (ack.file, ack.siaddr, ack.yiaddr) == (offer.file, offer.siaddr, offer.yiaddr)


@pytest.mark.rule("dhcp-26")
@pytest.mark.parametrize(
    ("arch", "says"),
    [
        (2, "no loader exists here for itanium firmware"),
        (6, "no loader exists here for uefi-ia32 firmware"),
        (11, "loader bootnetaa64.efi is not there; install Debian's debian-installer-12-netboot-arm64"),
        (27, "no loader exists here for uefi-riscv64 firmware"),
        (4711, "no loader exists for architecture 4711"),
    ],
)
def test_where_no_loader_exists_the_reason_says_so(arch: int, says: str) -> None:
    decision, offer = ask(pxe(arch))
    assert offer is not None
    assert offer.yiaddr == IP
    assert offer.file == b""
    # Class without boot file would send EDK2 to a proxy on UDP 4011.
    assert not {43, 60, 66, 67} & set(offer.options)
    assert f"no boot file: {says}" in decision.reason


@pytest.mark.rule("dhcp-26")
def test_the_first_known_of_several_architectures_counts() -> None:
    assert granted(pxe(7), options={93: b"\x12\x34\x00\x07\x00\x00"}).file == b"snponly.efi"
    assert granted(pxe(7), options={93: b"\x00\x00\x00\x07"}).file == b"undionly.kpxe"


@pytest.mark.rule("dhcp-26")
def test_an_architecture_in_the_class_alone_is_found() -> None:
    rom = Asker({60: b"PXEClient:Arch:00007:UNDI:003016"})
    assert granted(rom).file == b"snponly.efi"
    decision, offer = ask(Asker({60: b"PXEClient"}))
    assert offer is not None
    assert offer.file == b""
    assert "it names no architecture" in decision.reason


def test_a_loader_that_was_not_collected_is_not_promised() -> None:
    decision, offer = ask(pxe(7), context=replace(CONTEXT, loaders=frozenset({"undionly.kpxe"})))
    assert offer is not None
    assert offer.file == b""
    assert "loader snponly.efi is not there; run `make setup`" in decision.reason


@pytest.mark.rule("dhcp-25")
def test_a_missing_uuid_is_tolerated_and_a_wrong_one_is_not() -> None:
    without = replace(pxe(7), options={c: v for c, v in pxe(7).options.items() if c != 97})
    offer = granted(without)
    assert offer.file == b"snponly.efi"
    assert 97 not in offer.options
    for wrong in (b"", b"\0" * 16, b"\x01" + bytes(16)):
        decision, reply = ask(pxe(7), options={97: wrong})
        assert reply is not None
        assert (reply.yiaddr, reply.file) == (IP, b"")
        assert "its option 97" in decision.reason


@pytest.mark.rule("dhcp-32")
@pytest.mark.rule("dhcp-25")
def test_uefi_http_boot_is_given_a_url() -> None:
    decision, offer = ask(http_client(16))
    assert offer is not None
    assert offer.options[60] == b"HTTPClient"
    assert offer.options[67].rstrip(b"\0") == b"http://10.98.0.1/loaders/snponly.efi"
    assert 43 not in offer.options
    assert offer.options[97] == UUID97
    assert decision.phase is Phase.FIRMWARE
    assert decision.reason.endswith("boot file snponly.efi because its firmware is uefi-x64, by HTTP")


@pytest.mark.rule("dhcp-34")
@pytest.mark.parametrize(
    "identity",
    [
        pytest.param({77: b"iPXE"}, id="class, raw"),
        pytest.param({77: b"\x04iPXE"}, id="class, RFC 3004"),
        pytest.param({77: b"\x03lab\x04iPXE"}, id="one of several classes"),
        pytest.param({175: b"\xb1\x05\x01\x10\xec\x81\x39"}, id="option 175 alone, as FlexBoot"),
    ],
)
@pytest.mark.rule("dhcp-35")
def test_ipxe_is_given_the_script_and_never_a_loader(identity: dict[int, bytes]) -> None:
    decision, offer = ask(pxe(7), options=identity)
    url = b"http://10.98.0.1/boot.ipxe?mac=52-54-00-98-00-17&uuid=${uuid}&serial=${serial:uristring}&arch=uefi-x64"
    assert offer is not None
    assert offer.file == url
    assert offer.options[67] == url + b"\0"
    assert decision.phase is Phase.LOADER
    assert decision.reason.endswith("boot script because it is iPXE on uefi-x64")


@pytest.mark.rule("dhcp-36")
def test_ipxe_need_not_wait_for_a_proxy() -> None:
    offer = granted(ipxe(0))
    assert offer.options[175] == b"\xb0\x01\x01"
    # With PXEClient in the offer iPXE would take us for a proxy as well and ask on UDP 4011.
    assert 60 not in offer.options
    assert offer.file.endswith(b"&arch=bios")


def test_urls_name_a_port_only_where_it_is_not_80() -> None:
    context = replace(CONTEXT, http_port=8088)
    assert granted(ipxe(7), context=context).file.startswith(b"http://10.98.0.1:8088/boot.ipxe?")
    offer = granted(http_client(16), context=context)
    assert offer.options[67] == b"http://10.98.0.1:8088/loaders/snponly.efi\0"


@pytest.mark.rule("dhcp-31")
def test_the_longest_url_fits_the_file_field() -> None:
    widest = replace(CONTEXT, address=IPv4Address("255.255.255.255"), http_port=65535)
    everywhere = rack(NODE, subnets=(replace(NEAR, prefix=IPv4Network("0.0.0.0/0")),))
    offer = granted(ipxe(39), context=widest, inventory=everywhere)
    assert offer.file.endswith(b"&arch=uefi-loongarch64")
    assert offer.options[67] == offer.file + b"\0"


@pytest.mark.rule("dhcp-25")
def test_a_system_is_told_nothing_about_booting() -> None:
    decision, offer = ask(Asker({60: b"udhcp 1.35.0", 93: b"\0\7"}))
    assert offer is not None
    assert not {43, 60, 66, 67, 97, 175} & set(offer.options)
    assert (offer.file, offer.siaddr.packed) == (b"", bytes(4))
    assert (decision.phase, decision.firmware) == (None, None)
    assert NODE.name.encode() == offer.options[12]
