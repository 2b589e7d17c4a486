"""The codec against its own promises, against junk, and against scapy."""

import random
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from provisioner.dhcp.packet import MalformedPacket, Packet, decode, encode, encode_reply, wire_size

from .rack import DISCOVER, MAC, SYSTEM, ipxe, pxe

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
codes = st.integers(1, 254).filter(lambda code: code != 52)
texts = st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"x"))
packets = st.builds(
    Packet,
    op=st.integers(0, 255),
    xid=st.integers(0, 2**32 - 1),
    chaddr=st.binary(min_size=16, max_size=16),
    htype=st.integers(0, 255),
    hlen=st.integers(0, 16),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    sname=texts,
    file=texts,
    options=st.dictionaries(codes, st.binary(max_size=600), max_size=12),
)


@seed(1)
@settings(max_examples=150, deadline=None, database=None)
@given(packets)
def test_what_is_encoded_is_decoded_again(packet: Packet) -> None:
    wire = encode(packet)
    assert decode(wire) == packet
    assert list(decode(wire).options) == list(packet.options)
    assert len(wire) == max(300, 241 + sum(map(wire_size, packet.options.values())))


@pytest.mark.rule("dhcp-17")
@pytest.mark.parametrize(("length", "size"), [(0, 2), (1, 3), (255, 257), (256, 260), (510, 514), (511, 517)])
def test_an_option_takes_a_head_for_each_part(length: int, size: int) -> None:
    assert wire_size(bytes(length)) == size
    empty = SYSTEM.packet(DISCOVER)._replace(options={})
    grown = empty._replace(options={224: bytes(length)})
    assert len(encode(grown, 0)) - len(encode(empty, 0)) == size


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sname": bytes(63)}, ""),
        ({"sname": bytes(64)}, "sname holds 63 bytes and file 127, terminator excluded"),
        ({"file": bytes(127)}, ""),
        ({"file": bytes(128)}, "sname holds 63 bytes and file 127, terminator excluded"),
        ({"options": {1: b"x"}}, ""),
        ({"options": {254: b"x"}}, ""),
        *(
            ({"options": {code: b"x"}}, f"option {code} is written by the codec itself")
            for code in (0, 52, 255, 256)
        ),
    ],
)
def test_what_does_not_fit_a_message_is_not_written(changes: dict[str, Any], said: str) -> None:
    packet = SYSTEM.packet(DISCOVER)._replace(**changes)
    if not said:
        wire = encode(packet)
        assert (len(wire), wire[-1]) == (300, 0)
        return
    with pytest.raises(ValueError, match="^" + said + "$"):
        encode(packet)


@seed(2)
@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=700))
def test_junk_is_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        decode(data)


def test_mutated_packets_are_read_or_refused() -> None:
    chance = random.Random(3)
    seeds = [asker.bytes(DISCOVER) for asker in (SYSTEM, pxe(7), ipxe(0))]
    outcomes = set()
    for _ in range(4000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        try:
            decode(bytes(data))
            outcomes.add("read")
        except MalformedPacket as refused:
            assert str(refused)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.rule("dhcp-13")
@pytest.mark.rule("dhcp-15")
def test_a_reply_gives_back_what_identifies_the_exchange_and_nothing_else() -> None:
    here, relay, next_server = IPv4Address("10.98.0.17"), IPv4Address("10.99.0.1"), IPv4Address("10.98.0.1")
    asked = Packet(
        op=1,
        xid=0xFEDCBA98,
        chaddr=bytes(range(1, 17)),
        htype=6,
        hlen=7,
        hops=3,
        secs=9,
        flags=0x8001,
        ciaddr=IPv4Address("10.0.0.9"),
        yiaddr=IPv4Address("10.0.0.8"),
        siaddr=IPv4Address("10.0.0.7"),
        giaddr=relay,
        sname=b"theirs",
        file=b"theirs",
        options={53: DISCOVER},
    )
    wire = encode_reply(asked, b"\x35\x01\x02", flags=0x8000, yiaddr=here, siaddr=next_server, file=b"a.efi")
    assert decode(wire) == Packet(
        op=2,
        xid=0xFEDCBA98,
        chaddr=bytes(range(1, 17)),
        htype=6,
        hlen=7,
        flags=0x8000,
        yiaddr=here,
        siaddr=next_server,
        giaddr=relay,
        file=b"a.efi",
        options={53: b"\x02"},
    )
    assert wire[240:244] == b"\x35\x01\x02\xff"
    assert (len(wire), set(wire[244:])) == (300, {0})
    bare = decode(encode_reply(asked, b"", flags=0, ciaddr=here))
    assert (bare.ciaddr, bare.file) == (here, b"")
    assert len(encode_reply(asked, bytes(100), flags=0)) == 341
    assert decode(encode_reply(asked, b"", flags=0, file=b"f" * 127)).file == b"f" * 127
    with pytest.raises(ValueError, match=r"^file holds 127 bytes, terminator excluded$"):
        encode_reply(asked, b"", flags=0, file=b"f" * 128)


@pytest.mark.rule("dhcp-17")
def test_repeated_options_are_one_value_and_long_ones_are_split() -> None:
    long = bytes(range(256)) * 2
    wire = encode(Packet(1, 1, bytes(16), options={53: DISCOVER, 43: long}))
    at = wire.index(bytes((43, 255)))
    assert wire[at + 257 : at + 259] == bytes((43, 255))
    assert wire[at + 514 : at + 516] == bytes((43, 2))
    apart = encode(Packet(1, 1, bytes(16)))[:240] + b"\x0c\x02no\x35\x01\x01\x0c\x02de\xff"
    assert decode(apart).options == {12: b"node", 53: b"\x01"}


@pytest.mark.rule("dhcp-16")
def test_overloaded_fields_are_read_after_the_options_file_first() -> None:
    wire = bytearray(encode(Packet(1, 1, bytes(16), options={53: DISCOVER})))
    wire[240:] = b"\x35\x01\x01\x34\x01\x03\x0c\x01a\xff"
    wire[108:236] = b"\x0c\x01b\xff".ljust(128, b"\0")
    wire[44:108] = b"\x0c\x01c\xff".ljust(64, b"\0")
    packet = decode(bytes(wire))
    assert packet.options == {53: b"\x01", 12: b"abc"}
    assert (packet.file, packet.sname) == (b"", b"")


@pytest.mark.rule("dhcp-16")
@pytest.mark.parametrize(
    ("overload", "names", "file", "sname"),
    [
        (1, b"ab", b"", b"\x0c\x01c\xff"),
        (2, b"ac", b"\x0c\x01b\xff", b""),
    ],
)
def test_only_the_field_that_option_52_names_holds_options(
    overload: int, names: bytes, file: bytes, sname: bytes
) -> None:
    wire = bytearray(encode(Packet(1, 1, bytes(16))))
    wire[240:] = b"\x35\x01\x01\x34\x01" + bytes((overload,)) + b"\x0c\x01a\xff"
    wire[108:236] = b"\x0c\x01b\xff".ljust(128, b"\0")
    wire[44:108] = b"\x0c\x01c\xff".ljust(64, b"\0")
    packet = decode(bytes(wire))
    assert packet.options == {53: b"\x01", 12: names}
    assert (packet.file, packet.sname) == (file, sname)


@pytest.mark.rule("dhcp-16")
@pytest.mark.parametrize(
    ("overload", "file", "sname", "says"),
    [
        (1, b"\x0c", b"", "option 12 in file has no length"),
        (2, b"", b"\x0c", "option 12 in sname has no length"),
        (1, b"\x34\x01\x01", b"", "option 52 appears inside an overloaded field"),
    ],
)
def test_a_fault_in_an_overloaded_field_is_told_with_its_place(
    overload: int, file: bytes, sname: bytes, says: str
) -> None:
    wire = bytearray(encode(Packet(1, 1, bytes(16))))
    wire[240:] = b"\x35\x01\x01\x34\x01" + bytes((overload,)) + b"\xff"
    # At the very end of the field, where nothing can follow.
    wire[108:236] = file.rjust(128, b"\0")
    wire[44:108] = sname.rjust(64, b"\0")
    with pytest.raises(MalformedPacket, match=f"^{says}$"):
        decode(bytes(wire))


def test_padding_may_stand_between_options_and_a_value_may_be_empty_or_fill_its_length() -> None:
    head = encode(Packet(1, 1, bytes(16)))[:240]
    assert decode(head + b"\x35\x01\x01\0\0\0\x0c\x01a\xff").options == {53: b"\x01", 12: b"a"}
    assert decode(head + b"\x35\x01\x01\x50\0").options == {53: b"\x01", 80: b""}
    assert decode(head).options == {}
    assert encode(Packet(1, 1, bytes(16), options={43: bytes(255)}), 0)[240:] == b"\x2b\xff" + bytes(255) + b"\xff"


def test_plain_bootp_is_refused_by_its_name() -> None:
    wire = encode(Packet(1, 1, bytes(16)))
    with pytest.raises(MalformedPacket, match=r"^the DHCP magic cookie is missing; plain BOOTP is not served$"):
        decode(wire[:236] + bytes(4) + wire[240:])


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        (b"\x35", "option 53 in options has no length"),
        (b"\x35\x05\x01", "cut short by 4 bytes"),
        (b"\x34\x01\x09\xff", "option 52 is 09"),
        (b"\x34\x00\xff", "option 52"),
    ],
)
def test_a_refusal_names_what_is_wrong(tail: bytes, says: str) -> None:
    with pytest.raises(MalformedPacket, match=says):
        decode(encode(Packet(1, 1, bytes(16)))[:240] + tail)


def test_a_missing_end_is_tolerated() -> None:
    assert decode(encode(Packet(1, 1, bytes(16)))[:240] + b"\x35\x01\x01").options == {53: b"\x01"}


@pytest.mark.rule("dhcp-23")
@pytest.mark.parametrize(
    ("htype", "hlen", "mac"), [(1, 6, MAC), (6, 6, MAC), (1, 0, None), (1, 16, None), (32, 6, None)]
)
def test_only_ethernet_addresses_are_macs(htype: int, hlen: int, mac: bytes | None) -> None:
    packet = decode(encode(Packet(1, 1, bytes(MAC).ljust(16, b"\0"), htype=htype, hlen=hlen)))
    assert packet.mac == mac


@pytest.mark.rule("dhcp-23")
def test_an_address_longer_than_its_field_is_malformed() -> None:
    wire = bytearray(encode(Packet(1, 1, bytes(16))))
    wire[2] = 17
    with pytest.raises(MalformedPacket, match="hlen 17"):
        decode(bytes(wire))


def well_formed(chance: random.Random) -> Packet:
    """A message as clients, relays and servers write them: every field filled, options of all shapes."""
    values = {
        **{code: chance.randbytes(4 * chance.randint(1, 5)) for code in (3, 6, 42)},
        **{code: chance.randbytes(4) for code in (1, 28, 50, 51, 54, 58, 59)},
        **{code: b"node-%d" % chance.getrandbits(20) for code in (12, 15, 60, 66, 67)},
        57: (576 + chance.getrandbits(9)).to_bytes(2, "big"),
        61: b"\x01" + chance.randbytes(6),
        **{chance.randrange(200, 254): chance.randbytes(chance.randint(1, 255)) for _ in range(3)},
    }
    codes = chance.sample(sorted(values), chance.randint(1, 8))
    addresses = [IPv4Address(chance.getrandbits(32)) for _ in range(4)]
    return Packet(
        chance.choice((1, 2)),
        chance.getrandbits(32),
        chance.randbytes(6).ljust(16, b"\0"),
        1,
        6,
        chance.randrange(256),
        chance.randrange(65536),
        chance.choice((0, 0x8000)),
        *addresses,
        b"server" * chance.randint(0, 5),
        b"snponly.efi" * chance.randint(0, 5),
        {53: bytes((chance.randint(1, 8),)), **{code: values[code] for code in codes}},
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [500, pytest.param(50_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_scapy_reads_what_we_write_and_we_read_what_scapy_writes(count: int) -> None:
    from scapy.layers.dhcp import BOOTP, DHCP

    chance = random.Random(count)
    for _ in range(count):
        ours = well_formed(chance)
        theirs = BOOTP(encode(ours))
        numbers = {name: getattr(theirs, name) for name in ("op", "htype", "hlen", "hops", "xid", "secs")}
        assert numbers == {name: getattr(ours, name) for name in numbers}
        fields = {name: getattr(theirs, name) for name in ("ciaddr", "yiaddr", "siaddr", "giaddr")}
        assert fields == {name: str(getattr(ours, name)) for name in fields}
        texts = {name: bytes(getattr(theirs, name)).rstrip(b"\0") for name in ("sname", "file")}
        assert (texts, int(theirs.flags)) == ({"sname": ours.sname, "file": ours.file}, ours.flags)
        # Written anew by scapy, from what scapy read.
        anew = BOOTP(**numbers, **fields, **texts, flags=ours.flags, chaddr=theirs.chaddr)
        assert decode(bytes(anew / DHCP(options=theirs[DHCP].options))) == ours


@pytest.mark.filterwarnings("ignore")
def test_frames_are_those_that_scapy_builds() -> None:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    from provisioner.dhcp.frame import udp_frame

    chance = random.Random(6)
    for size in (0, 1, 2, 299, 300, 301, 1472):
        payload = chance.randbytes(size)
        frame = udp_frame(
            payload,
            source_mac=bytes.fromhex("020000000001"),
            destination_mac=MAC,
            source=IPv4Address("10.98.0.1"),
            destination=IPv4Address("10.98.0.17"),
            source_port=67,
            destination_port=68,
        )
        ip = IP(src="10.98.0.1", dst="10.98.0.17", tos=0x10, flags="DF", id=0, ttl=64)
        assert frame == bytes(Ether(src="02:00:00:00:00:01", dst=str(MAC)) / ip / UDP(sport=67, dport=68) / payload)
