"""The codec against its own promises, against junk, and against scapy."""

import random
from ipaddress import IPv4Address

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from provisioner.dhcp.packet import MalformedPacket, Packet, decode, encode, wire_size

from .rack import DISCOVER, MAC, SYSTEM, UUID97, ipxe, pxe

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


@pytest.mark.filterwarnings("ignore")
def test_scapy_reads_what_we_write_and_we_read_what_scapy_writes() -> None:
    from scapy.layers.dhcp import BOOTP, DHCP

    chance = random.Random(5)
    for _ in range(200):
        ours = Packet(
            chance.choice((1, 2)),
            chance.getrandbits(32),
            chance.randbytes(6).ljust(16, b"\0"),
            hops=chance.randrange(256),
            secs=chance.randrange(65536),
            flags=chance.choice((0, 0x8000)),
            ciaddr=IPv4Address(chance.getrandbits(32)),
            yiaddr=IPv4Address(chance.getrandbits(32)),
            siaddr=IPv4Address(chance.getrandbits(32)),
            giaddr=IPv4Address(chance.getrandbits(32)),
            file=b"snponly.efi",
            options={53: b"\x01", 61: chance.randbytes(7), 97: UUID97, 175: chance.randbytes(20)},
        )
        wire = encode(ours)
        theirs = BOOTP(wire)
        assert (theirs.op, theirs.xid, theirs.hops, theirs.secs) == (ours.op, ours.xid, ours.hops, ours.secs)
        assert (int(theirs.flags), bytes(theirs.chaddr)) == (ours.flags, ours.chaddr)
        assert [theirs.ciaddr, theirs.yiaddr, theirs.siaddr, theirs.giaddr] == [
            str(ip) for ip in (ours.ciaddr, ours.yiaddr, ours.siaddr, ours.giaddr)
        ]
        assert bytes(theirs.file).rstrip(b"\0") == ours.file
        assert theirs[DHCP].options[0] == ("message-type", 1)
        assert decode(bytes(BOOTP(bytes(theirs)))) == ours
        options = ["message-type", *(c for c in ours.options if c != 53)]
        fields = {name: getattr(theirs, name) for name in ("ciaddr", "yiaddr", "siaddr", "giaddr")}
        numbers = {name: getattr(ours, name) for name in ("op", "xid", "chaddr", "hops", "secs", "flags", "file")}
        listed = [(c, 1 if c == "message-type" else ours.options[c]) for c in options]
        rebuilt = BOOTP(**numbers, **fields) / DHCP(options=[*listed, "end"])
        assert decode(bytes(rebuilt)) == ours


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
