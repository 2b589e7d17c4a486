"""MACs by makers' own commands, from answers made after their descriptions (synthetic: none was captured)."""

from collections.abc import Sequence
from typing import Any

import pytest

from provisioner.bmc import oem
from provisioner.domain.mac import Mac

A, B = Mac.parse("0c:c4:7a:00:00:01"), Mac.parse("0c:c4:7a:00:00:02")


def no_inventory() -> list[tuple[str, Any]]:
    raise AssertionError("not asked for")


def test_supermicros_answer_ends_with_the_mac() -> None:
    asked: list[tuple[int, int, tuple[int, ...]]] = []

    def raw(netfn: int, command: int, data: Sequence[int]) -> bytes:
        asked.append((netfn, command, tuple(data)))
        return bytes.fromhex("01010100") + A

    assert oem.macs(10876, raw, no_inventory) == [A]
    assert asked == [(0x30, 0x21, ())]


@pytest.mark.parametrize("answer", [b"", bytes(10), b"\xff" * 10, b"\x01\x02"])
def test_a_blank_answer_is_no_mac(answer: bytes) -> None:
    assert oem.macs(10876, lambda *_: answer, no_inventory) == []


def dell(records: list[bytes]) -> oem.Raw:
    def raw(netfn: int, command: int, data: Sequence[int]) -> bytes:
        assert (netfn, command, *data[:4]) == (0x06, 0x59, 0, 0xDA, 0, 0)
        offset, length = data[4:]
        table = b"".join(records).ljust(64, b"\0")
        return b"\x11" + (bytes([64]) if not length else table[offset : offset + length])

    return raw


def test_dells_ethernet_ports_in_the_order_of_their_numbers_without_iscsi() -> None:
    iscsi = bytes([0b0001_0000, 0]) + Mac.parse("0c:c4:7a:00:00:99")
    assert oem.macs(674, dell([bytes([0, 1]) + B, iscsi, bytes([0, 0]) + A]), no_inventory) == [A, B]
    assert oem.macs(674, dell([]), no_inventory) == []


@pytest.mark.parametrize("answer", [b"", b"\x11", b"\x11\xff", b"\xff" * 40])
def test_odd_answers_of_a_dell_name_nobody(answer: bytes) -> None:
    assert oem.macs(674, lambda *_: answer, no_inventory) == []


def test_lenovos_adapters_are_read_from_the_inventory_in_both_spellings() -> None:
    parts = [
        ("System", {"Model": "SR630", "Serial number": "J1"}),
        ("ML2 Ethernet", {"MAC Address 1": str(A), "MAC Address 2": str(B), "Slot": "1"}),
        ("Old IMM adapter", {"MAC Address 1.0": "0c:c4:7a:00:00:03", "MAC Address 2.0": ""}),
        ("absent", None),
    ]
    assert oem.macs(19046, lambda *_: b"", lambda: parts) == [A, B, Mac.parse("0c:c4:7a:00:00:03")]


def test_other_makers_are_asked_nothing() -> None:
    def raw(*_: object) -> bytes:
        raise AssertionError("asked")

    assert oem.macs(343, raw, no_inventory) == []


@pytest.mark.parametrize(
    ("device_id", "number"),
    [("2001 0902 02 9f 7c2a00 1234", 10876), ("2001 0902 02 9f a20200 0001", 674), ("2001", 0)],
)
def test_the_maker_is_read_from_the_device_id(device_id: str, number: int) -> None:
    assert oem.maker(bytes.fromhex(device_id)) == number
