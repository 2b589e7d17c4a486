"""An Ethernet frame around a UDP datagram, for a client that has no address to answer ARP with.

Layouts: Ethernet II, RFC 791 §3.1, RFC 768; checksums as RFC 1071.
"""

from ipaddress import IPv4Address
from struct import Struct

from provisioner.domain.mac import Mac

_ETHERNET = Struct("!6s6sH")
_IP = Struct("!BBHHHBBH4s4s")
_UDP = Struct("!HHHH")
_PSEUDO = Struct("!4s4sBBH")
_IPV4 = 0x0800
_PROTOCOL_UDP = 17
_DONT_FRAGMENT = 0x4000


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
    length = _UDP.size + len(payload)
    pseudo = _PSEUDO.pack(source.packed, destination.packed, 0, _PROTOCOL_UDP, length)
    udp = _UDP.pack(source_port, destination_port, length, 0)
    # A computed zero is sent as all ones: zero means "no checksum" (RFC 768).
    check = _checksum(pseudo + udp + payload) or 0xFFFF
    udp = _UDP.pack(source_port, destination_port, length, check)
    ip = (0x45, 0x10, _IP.size + length, 0, _DONT_FRAGMENT, 64, _PROTOCOL_UDP)
    header = _IP.pack(*ip, 0, source.packed, destination.packed)
    header = _IP.pack(*ip, _checksum(header), source.packed, destination.packed)
    return b"".join((_ETHERNET.pack(destination_mac, source_mac, _IPV4), header, udp, payload))


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 0xFFFF, so the number's remainder is the folded sum of its 16-bit words.
    total = int.from_bytes(data, "big")
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))
