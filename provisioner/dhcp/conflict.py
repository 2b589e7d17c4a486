"""Does somebody else answer on an address? ARP as RFC 826, probes as RFC 5227 §2.1.1."""

from ipaddress import IPv4Address
from struct import Struct

from provisioner.domain.mac import Mac

ETHERTYPE = 0x0806
_FRAME = Struct("!6s6sHHHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_ETHERNET, _IPV4 = 1, 0x0800
_EVERYONE = b"\xff" * 6
_NOBODY = bytes(6)


def probe(address: IPv4Address, our_mac: bytes) -> bytes:
    """The question who has ``address``. It names no sender address, so that nobody's ARP table is touched."""
    return _FRAME.pack(
        _EVERYONE,
        our_mac,
        ETHERTYPE,
        _ETHERNET,
        _IPV4,
        6,
        4,
        _REQUEST,
        our_mac,
        bytes(4),
        _NOBODY,
        address.packed,
    ).ljust(60, b"\0")


def claim(frame: bytes) -> tuple[IPv4Address, Mac] | None:
    """Who says to have which address; None for probes, other protocols and what is cut short."""
    if len(frame) < _FRAME.size:
        return None
    _, _, ethertype, hardware, protocol, hlen, plen, op, mac, sender, _, _ = _FRAME.unpack_from(frame)
    if (ethertype, hardware, protocol, hlen, plen) != (ETHERTYPE, _ETHERNET, _IPV4, 6, 4):
        return None
    if op not in (_REQUEST, _REPLY) or sender == bytes(4) or mac[0] & 1:
        return None
    return IPv4Address(sender), Mac(mac)
