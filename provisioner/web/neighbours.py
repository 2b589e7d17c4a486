"""What the kernel knows of the wire: our addresses, and who holds which address."""

import fcntl
import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress

_ARP = Path("/proc/net/arp")
_COMPLETE = 0x2
_SIOCGIFADDR = 0x8915


def neighbour(ip: IPAddress) -> Mac | None:
    """The MAC in the neighbour table for this address; None when it is not on our segment (or IPv6)."""
    wanted = f"{ip} "
    try:
        lines = _ARP.read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        if line.startswith(wanted):
            _, _, flags, mac, *_ = line.split()
            if int(flags, 16) & _COMPLETE:
                return Mac.parse(mac)
    return None


def address_on(interface: str) -> IPv4Address | None:
    """The interface's primary IPv4 address, or None."""
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, request)
        except OSError:
            return None
    return IPv4Address(answer[20:24])
