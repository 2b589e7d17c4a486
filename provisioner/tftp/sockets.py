"""UDP sockets that know which of our addresses a client contacted (IP_PKTINFO, ip(7); RFC 3542 for IPv6)."""

import errno
import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from provisioner.domain.errors import InvalidValue
from provisioner.domain.machine import IPAddress

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

_IP_PKTINFO = 8
"""linux/in.h; Python 3.11's socket module has no name for it."""
_SIOCGIFMTU = 0x8921
_ANCILLARY = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(12)
_ETHERNET_MTU = 1500
_REQUEST_BUFFER = 1 << 20
"""Bytes."""
_UDP_SEGMENT = 103
"""linux/udp.h: the size into which the kernel cuts what is sent at once; udp(7)."""
_TOGETHER_BYTES, _TOGETHER = 65_000, 64
"""At once no more than an IP packet holds, nor than linux/udp.h's UDP_MAX_SEGMENTS."""
_CANNOT_CUT = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""A kernel before 4.18, or an interface that computes no checksums."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A datagram and the way it came."""

    data: bytes
    peer: SocketAddress
    local: IPAddress | None
    """Our address that the client wrote to; None: a broadcast or multicast."""
    interface: int
    """Kernel's index of the interface it came in by; 0 if unknown."""


def listening(ip: IPAddress, port: int) -> socket.socket:
    """A socket for requests. Raises InvalidValue when the address cannot be bound."""
    sock = _udp(ip)
    if ip.version == 4:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    # A storm of requests waits here while the loop is busy; the kernel caps it (net.core.rmem_max).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _REQUEST_BUFFER)
    try:
        sock.bind((str(ip), port))
    except OSError as error:
        sock.close()
        remedy = {
            errno.EADDRINUSE: f"see who has it: `ss -lunp sport = :{port}`, and stop that TFTP server",
            errno.EACCES: "run as root or give the service CAP_NET_BIND_SERVICE",
            errno.EADDRNOTAVAIL: "give an interface this address first",
        }.get(error.errno or 0, "look at the interface and the address")
        raise InvalidValue("TFTP port", f"{ip}:{port}", f"cannot be bound ({error.strerror})", remedy) from error
    return sock


def own_port(local: IPAddress, interface: int, ports: Sequence[int], first: int) -> socket.socket | None:
    """A new TID (RFC 1350 §4) on our address ``local``: any port, or one of ``ports`` tried from index ``first``.

    None: all of ``ports`` are taken. Raises OSError when there are no descriptors or no such address.
    """
    sock = _udp(local)
    # A link-local address means something on its own interface only.
    scope = (0, interface) if local.version == 6 and local.is_link_local else ()
    try:
        if not ports:
            sock.bind((str(local), 0, *scope))
            return sock
        for step in range(len(ports)):
            try:
                sock.bind((str(local), ports[(first + step) % len(ports)], *scope))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return sock
    except OSError:
        sock.close()
        raise
    sock.close()
    return None


def receive(sock: socket.socket) -> Arrival | None:
    """The next datagram of a listening socket, or None when there is none."""
    try:
        data, ancillary, _, peer = sock.recvmsg(2048, _ANCILLARY)
    except (BlockingIOError, InterruptedError):
        return None
    local, interface = _destination(ancillary)
    return Arrival(data, peer, local, interface)


def send_from(sock: socket.socket, data: bytes, arrival: Arrival) -> None:
    """Answer from the address the client contacted, by the listening socket. Raises OSError."""
    if arrival.local is None:
        raise OSError(errno.EADDRNOTAVAIL, "a broadcast is not answered")
    if arrival.local.version == 4:
        level, kind = socket.IPPROTO_IP, _IP_PKTINFO
        info = struct.pack("=i4s4s", 0, arrival.local.packed, bytes(4))
    else:
        level, kind = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
        info = struct.pack("=16sI", arrival.local.packed, arrival.interface)
    sock.sendmsg([data], [(level, kind, info)], 0, arrival.peer)


def send_window(sock: socket.socket, window: Sequence[tuple[bytes, SocketAddress]]) -> bool:
    """Send datagrams of one size, but for a shorter last one, to one peer in a single call.

    False: they are none such, or the kernel cannot do it here; nothing was sent. Raises BlockingIOError.
    """
    size, peer = len(window[0][0]), window[0][1]
    if len(window) > _TOGETHER or size * len(window) > _TOGETHER_BYTES or len(window[-1][0]) > size:
        return False
    if any(len(data) != size or to != peer for data, to in window[:-1]) or window[-1][1] != peer:
        return False
    try:
        sock.sendmsg(
            [data for data, _ in window], [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", size))], 0, peer
        )
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _CANNOT_CUT:
            return False
        raise
    return True


def mtu_of(sock: socket.socket, interface: int) -> int:
    """Bytes of an interface's largest packet; Ethernet's when it cannot be told."""
    try:
        name = socket.if_indextoname(interface).encode()
        answer = fcntl.ioctl(sock, _SIOCGIFMTU, struct.pack("16si12x", name, 0))
    except (OSError, OverflowError):
        return _ETHERNET_MTU
    return int(struct.unpack_from("i", answer, 16)[0])


def address_of(peer: SocketAddress) -> IPAddress:
    """The IP of a socket address, without a scope."""
    return ip_address(peer[0].partition("%")[0])


def _udp(ip: IPAddress) -> socket.socket:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if ip.version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _destination(ancillary: list[tuple[int, int, bytes]]) -> tuple[IPAddress | None, int]:
    for level, kind, info in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            # struct in_pktinfo: interface, our address on it, destination of the packet. They differ when
            # the packet was broadcast.
            interface, ours, destination = struct.unpack_from("=i4s4s", info)
            return (ip_address(ours) if ours == destination else None), interface
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            raw, interface = struct.unpack_from("=16sI", info)
            address = ip_address(raw)
            return (None if address.is_multicast else address), interface
    return None, 0
