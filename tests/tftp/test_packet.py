"""The codec: both directions from one table, and nothing but MalformedPacket from anything else."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provisioner.tftp.packet import (
    Ack,
    Data,
    Error,
    MalformedPacket,
    Opcode,
    OptionAck,
    Packet,
    Request,
    decode,
    encode,
)

BOTH_WAYS: list[tuple[bytes, Packet]] = [
    (b"\0\1snponly.efi\0octet\0", Request(Opcode.RRQ, "snponly.efi")),
    (
        b"\0\1a\0octet\0tsize\x000\0blksize\x001468\0",
        Request(Opcode.RRQ, "a", "octet", {"tsize": "0", "blksize": "1468"}),
    ),
    (b"\0\2up\0octet\0", Request(Opcode.WRQ, "up")),
    (b"\0\3\xff\xffrest", Data(65535, b"rest")),
    (b"\0\3\0\1", Data(1, b"")),
    (b"\0\4\x01\x02", Ack(258)),
    (b"\0\5\0\1no file\0", Error(1, "no file")),
    (b"\0\6blksize\x001468\0windowsize\x004\0", OptionAck({"blksize": "1468", "windowsize": "4"})),
]


@pytest.mark.parametrize(("wire", "packet"), BOTH_WAYS, ids=[repr(p)[:40] for _, p in BOTH_WAYS])
def test_wire_and_value_agree(wire: bytes, packet: Packet) -> None:
    assert decode(wire) == packet
    assert encode(packet) == wire


@pytest.mark.rule("tftp-04")
@pytest.mark.parametrize(
    ("wire", "options"),
    [
        (b"\0\1a\0OCTET\0BlkSize\x001468\0TSIZE\x000\0", {"blksize": "1468", "tsize": "0"}),
        (b"\0\1a\0octet\0blksize\x001468\0\0\0\0\0", {"blksize": "1468"}),
        (b"\0\1a\0octet\0blksize\x001468\0rubbish", {"blksize": "1468"}),
        (b"\0\1a\0octet\0blksize", {}),
        (b"\0\1a\0octet\0blksize\0", {}),
        (b"\0\1a\0octet\0blksize\x00512\0blksize\x001024\0", {"blksize": "512"}),
    ],
    ids=["upper case", "padding", "trailing bytes", "unterminated", "without value", "twice"],
)
def test_option_names_ignore_case_and_rubbish_behind_them_is_tolerated(
    wire: bytes, options: dict[str, str]
) -> None:
    assert decode(wire) == Request(Opcode.RRQ, "a", "octet", options)


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        (b"", "0 bytes"),
        (b"\0", "1 bytes"),
        (b"\0\1\0", "3 bytes"),
        (b"\0\1\0octet\0", "empty file name"),
        (b"\0\1name", "NUL-terminated"),
        (b"\0\1name\0oct", "NUL-terminated"),
        (b"\0\7abcd", "opcode 7"),
        (b"\0\0abcd", "opcode 0"),
    ],
)
def test_what_is_wrong_is_said(wire: bytes, complaint: str) -> None:
    with pytest.raises(MalformedPacket, match=complaint):
        decode(wire)


def test_a_name_that_is_not_utf8_is_readable_and_matches_no_file() -> None:
    packet = decode(b"\0\1caf\xe9\0octet\0")
    assert isinstance(packet, Request)
    assert packet.filename == "caf\\xe9"


@settings(max_examples=400, derandomize=True, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.builds(lambda op, rest: b"\0" + bytes([op]) + rest, st.integers(0, 8), st.binary(max_size=80)),
    )
)
@example(b"\0\1\xff\xfe\0octet\0")
def test_any_bytes_give_a_packet_or_malformed_and_packets_survive_a_round_trip(wire: bytes) -> None:
    try:
        packet = decode(wire)
    except MalformedPacket:
        return
    assert decode(encode(packet)) == packet
