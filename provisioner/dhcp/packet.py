"""The DHCP message on the wire: RFC 2131 §2, options as RFC 2132 §2, long options as RFC 3396.

``decode`` returns a whole frozen ``Packet`` or raises ``MalformedPacket``; nothing further in handles bytes that
may be cut short. Written by hand over ``struct``, because it runs once for every packet on the segment; so
is the choice of tuples, which are made seven times as fast as frozen dataclasses.
"""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address
from struct import Struct
from types import MappingProxyType
from typing import NamedTuple

from provisioner.domain.mac import Mac

BOOTREQUEST = 1
BOOTREPLY = 2
BROADCAST_FLAG = 0x8000
NOWHERE = IPv4Address(0)

_HEADER = Struct("!BBBBIHH4s4s4s4s16s64s128s")
_COOKIE = b"\x63\x82\x53\x63"
_FIXED = _HEADER.size + len(_COOKIE)
_PAD, _OVERLOAD, _END = 0, 52, 255
_NOBODY = bytes(6)
_LEAST = 300
"""Bytes of a message: relays and old clients drop less than BOOTP has."""
_ETHERNET = (1, 6)
"""Hardware types whose addresses are EUI-48: Ethernet, and IEEE 802 as some ROMs call it."""


class MalformedPacket(Exception):
    """The datagram is no DHCP message that could be answered; ``str()`` says what is wrong with it."""


class Packet(NamedTuple):
    """One message. The fields are named as in RFC 2131, figure 1."""

    op: int
    xid: int
    chaddr: bytes
    """All 16 bytes as they came; ``hlen`` of them count."""
    htype: int = 1
    hlen: int = 6
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = NOWHERE
    yiaddr: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    giaddr: IPv4Address = NOWHERE
    sname: bytes = b""
    """Without its terminator; empty when it carried options."""
    file: bytes = b""
    """Without its terminator; empty when it carried options."""
    options: Mapping[int, bytes] = MappingProxyType({})
    """Values by code in the order of first appearance, the parts of split options joined."""

    @property
    def broadcast(self) -> bool:
        """The client cannot receive unicast before it has an address."""
        return bool(self.flags & BROADCAST_FLAG)

    @property
    def mac(self) -> Mac | None:
        """The station's address, or None where ``chaddr`` holds something else (a GUID, InfiniBand, nothing)."""
        if self.hlen != 6 or self.htype not in _ETHERNET:
            return None
        raw = self.chaddr[:6]
        return None if raw[0] & 1 or raw == _NOBODY else Mac(raw)


@lru_cache(4096)
def ipv4(raw: bytes) -> IPv4Address:
    """Four bytes as an address. The same come again and again: relays, servers, what was offered a moment ago."""
    return IPv4Address(raw)


def decode(data: bytes) -> Packet:
    """Read one datagram's payload. Raises MalformedPacket and nothing else."""
    if len(data) < _FIXED:
        raise MalformedPacket(f"{len(data)} bytes; a DHCP message has at least {_FIXED}")
    (op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file) = (
        _HEADER.unpack_from(data)
    )
    if data[_HEADER.size : _FIXED] != _COOKIE:
        raise MalformedPacket("the DHCP magic cookie is missing; plain BOOTP is not served")
    if hlen > len(chaddr):
        raise MalformedPacket(f"hlen {hlen}; chaddr holds {len(chaddr)} bytes")
    options: dict[int, bytes] = {}
    _read_options(data, _FIXED, options, "options")
    if (overload := options.pop(_OVERLOAD, None)) is not None:
        if overload not in (b"\x01", b"\x02", b"\x03"):
            raise MalformedPacket(f"option 52 is {overload.hex()}; it is 1, 2 or 3")
        # RFC 2131 §4.1: options, then file, then sname, as if they were one field.
        if overload[0] & 1:
            _read_options(file, 0, options, "file")
            file = b""
        if overload[0] & 2:
            _read_options(sname, 0, options, "sname")
            sname = b""
        if _OVERLOAD in options:
            raise MalformedPacket("option 52 appears inside an overloaded field")
    return Packet(
        op,
        xid,
        chaddr,
        htype,
        hlen,
        hops,
        secs,
        flags,
        ipv4(ciaddr),
        ipv4(yiaddr),
        ipv4(siaddr),
        ipv4(giaddr),
        sname.partition(b"\0")[0],
        file.partition(b"\0")[0],
        options,
    )


def encode(packet: Packet, pad_to: int = _LEAST) -> bytes:
    """The payload to send, at least ``pad_to`` bytes.

    Options are written in the mapping's order and never into ``file`` or ``sname``: EDK2 before 2016-05 takes an
    overloaded ``file`` for the boot file's name. Raises ValueError for a field that does not fit.
    """
    if len(packet.sname) > 63 or len(packet.file) > 127:
        raise ValueError("sname holds 63 bytes and file 127, terminator excluded")
    message = (
        _HEADER.pack(
            packet.op,
            packet.htype,
            packet.hlen,
            packet.hops,
            packet.xid,
            packet.secs,
            packet.flags,
            packet.ciaddr.packed,
            packet.yiaddr.packed,
            packet.siaddr.packed,
            packet.giaddr.packed,
            packet.chaddr,
            packet.sname,
            packet.file,
        )
        + _COOKIE
        + write_options(packet.options)
        + b"\xff"
    )
    return message.ljust(pad_to, b"\0")


def encode_reply(
    asked: Packet,
    options: bytes,
    *,
    flags: int,
    ciaddr: IPv4Address = NOWHERE,
    yiaddr: IPv4Address = NOWHERE,
    siaddr: IPv4Address = NOWHERE,
    file: bytes = b"",
) -> bytes:
    """The payload that answers ``asked`` (RFC 2131, table 3): what identifies the exchange is given back, hops and
    secs are 0. ``options`` as ``write_options`` makes them. Raises ValueError for a file name that does not fit."""
    if len(file) > 127:
        raise ValueError("file holds 127 bytes, terminator excluded")
    header = _HEADER.pack(
        BOOTREPLY,
        asked.htype,
        asked.hlen,
        0,
        asked.xid,
        0,
        flags,
        ciaddr.packed,
        yiaddr.packed,
        siaddr.packed,
        asked.giaddr.packed,
        asked.chaddr,
        b"",
        file,
    )
    return (header + _COOKIE + options + b"\xff").ljust(_LEAST, b"\0")


def write_options(options: Mapping[int, bytes]) -> bytes:
    """The options as they go over the wire, in the mapping's order, without the END.

    Raises ValueError for a code that the codec itself writes.
    """
    return b"".join([write_option(code, value) for code, value in options.items()])


def write_option(code: int, value: bytes) -> bytes:
    """One option, in parts if need be. Raises ValueError for a code that the codec itself writes."""
    if not _PAD < code < _END or code == _OVERLOAD:
        raise ValueError(f"option {code} is written by the codec itself")
    if len(value) <= 255:
        return bytes((code, len(value))) + value
    # RFC 3396 §5: split at any octet, the parts follow each other.
    parts = [value[start : start + 255] for start in range(0, len(value), 255)]
    return b"".join([bytes((code, len(part))) + part for part in parts])


def wire_size(value: bytes) -> int:
    """Bytes that an option of this value takes in a message, headers of its parts included."""
    return len(value) + 2 * max(1, -(-len(value) // 255))


def _read_options(data: bytes, at: int, options: dict[int, bytes], where: str) -> None:
    """Add the options from ``at`` on. A missing END is tolerated (old ROMs), an option cut short is not."""
    end = len(data)
    while at < end:
        code = data[at]
        if code == _PAD:
            at += 1
            continue
        if code == _END:
            return
        if at + 1 >= end:
            raise MalformedPacket(f"option {code} in {where} has no length")
        start = at + 2
        at = start + data[at + 1]
        if at > end:
            raise MalformedPacket(f"option {code} in {where} is cut short by {at - end} bytes")
        # RFC 3396 §5: the values of repeated options are one value.
        options[code] = options[code] + data[start:at] if code in options else data[start:at]
