"""An Ethernet frame around a UDP datagram, for a client that has no address to answer ARP with.

Layouts: Ethernet II, RFC 791 §3.1, RFC 768; checksums as RFC 1071.
"""

from ipaddress import IPv4Address
from struct import Struct

from provisioner.domain.mac import Mac

_HEADERS = Struct("!6s6sHBBHHHBBH4s4sHHHH")
_ETHERNET_BYTES = 14
_IP_BYTES, _UDP_BYTES = 20, 8
_IPV4 = 0x0800
_PROTOCOL_UDP = 17
_DONT_FRAGMENT = 0x4000
_VERSION_AND_TOS = 0x4510
_TTL = 64


def udp_frame(
    payload: bytes,
    *,
    source_mac: bytes,
    destination_mac: Mac,
    source: IPv4Address,
    destination: IPv4Address,
    source_port: int,
    destination_port: int,
) -> bytes:
    """The whole frame without its check sequence, which the card adds."""
    length = _UDP_BYTES + len(payload)
    total = _IP_BYTES + length
    from_number, to_number = int(source), int(destination)
    # The sum of 16-bit words modulo 0xFFFF is the number modulo 0xFFFF, since 2**16 is 1 there: RFC 1071 needs no
    # loop, and header and pseudo header no bytes of their own.
    addresses = from_number + to_number + _PROTOCOL_UDP
    header = -(_VERSION_AND_TOS + total + _DONT_FRAGMENT + (_TTL << 8) + addresses) % 0xFFFF
    words = int.from_bytes(payload, "big") << (8 * (len(payload) % 2))
    # A computed zero is sent as all ones: zero means "no checksum" (RFC 768).
    check = 0xFFFF - (addresses + 2 * length + source_port + destination_port + words) % 0xFFFF
    return (
        _HEADERS.pack(
            destination_mac,
            source_mac,
            _IPV4,
            _VERSION_AND_TOS >> 8,
            _VERSION_AND_TOS & 0xFF,
            total,
            0,
            _DONT_FRAGMENT,
            _TTL,
            _PROTOCOL_UDP,
            header,
            source.packed,
            destination.packed,
            source_port,
            destination_port,
            length,
            check,
        )
        + payload
    )
