"""Answers router solicitations on the lab's wire: "there is no IPv6 router here".

iPXE configures IPv6 before it fetches a URL and waits 16 s for a router that the lab does not have; one
advertisement with lifetime 0 and no prefix (RFC 4861 §4.2: not a default router, nothing to configure) ends the
wait. Measured: 16.0 s without, 0–0.2 s with, for the BIOS ROM and snponly.efi alike. Real networks with IPv6
answer by themselves.

Runs as a process of its own in the wire's namespace (``python -m provisioner.lab.router BRIDGE``).
"""

import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from provisioner.lab.network import BRIDGE
from provisioner.lab.programs import inside

_ALL_NODES, _ALL_ROUTERS = "ff02::1", "ff02::2"
_SOLICITATION, _ADVERTISEMENT = 133, 134
_HOP_LIMIT = 255
"""RFC 4861 §6.1.2: an advertisement with any other has crossed a router and is discarded."""


def advertisement(mac: bytes) -> bytes:
    """The ICMPv6 message (RFC 4861 §4.2); the kernel fills in the checksum."""
    lifetime, reachable, retransmit = 0, 0, 0
    head = struct.pack("!BBHBBHII", _ADVERTISEMENT, 0, 0, 64, 0, lifetime, reachable, retransmit)
    return head + b"\x01\x01" + mac  # source link-layer address


def is_solicitation(message: bytes) -> bool:
    return message[:1] == bytes([_SOLICITATION])


class Router:
    """The process that answers; started and stopped with the rack."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = inside(self._namespace, [sys.executable, "-P", "-m", "provisioner.lab.router", BRIDGE])
        # Ctrl-C in the terminal is for the lab, which then stops this.
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(self) -> None:
        """Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def answer(interface: str) -> None:
    """Answer on this interface until killed."""
    index = socket.if_nametoindex(interface)
    mac = bytes.fromhex(Path(f"/sys/class/net/{interface}/address").read_text().strip().replace(":", ""))
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        membership = socket.inet_pton(socket.AF_INET6, _ALL_ROUTERS) + struct.pack("@I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        while True:
            if not is_solicitation(sock.recv(2048)):
                continue
            # The bridge's own address is tentative for a second or two (RFC 4862 §5.4); who asks then asks again.
            with suppress(OSError):
                sock.sendto(advertisement(mac), (_ALL_NODES, 0, 0, index))


if __name__ == "__main__":
    answer(sys.argv[1])
