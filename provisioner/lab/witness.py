"""Watches the lab's wire: who asked for an address and who phoned home, told by the packets themselves.

Runs as a process of its own in the wire's namespace (``python -m provisioner.lab.witness``), because a socket is
bound to the namespace it was opened in. One JSON line a sighting on stdout: ``{"at", "mac", "what"}``, ``at`` in
UTC microseconds. Firmware and iPXE say PXEClient or HTTPClient in option 60 (RFC 4578 §3, UEFI 2.10 §24.7), an
operating system's client does not: one request without it after the install's end shows that the installed system
did *not* live from its static address.
"""

import ctypes
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from provisioner.lab.network import BRIDGE
from provisioner.lab.programs import inside

_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_TCP, _UDP = 6, 17
_DHCP_PORT, _HTTP_PORT = 67, 80
_COOKIE = bytes.fromhex("63825363")
_ASKS = (1, 3)
"""DHCPDISCOVER and DHCPREQUEST; a RELEASE asks for nothing (RFC 2132 §9.6)."""
_FIRMWARE = (b"PXEClient", b"HTTPClient")
_HOME = b"POST /m/"

# Option names of <linux/filter.h> and <linux/if_packet.h>, which Python's socket module does not have.
_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_MR_PROMISC = 1, 1


class Sight(StrEnum):
    """What was seen."""

    FIRMWARE = "firmware"
    """A boot ROM or iPXE asked for an address."""
    SYSTEM = "system"
    """An operating system asked for an address."""
    HOME = "home"
    """An installed system phoned home."""


@dataclass(frozen=True)
class Seen:
    """One sighting."""

    at: int
    mac: str
    what: str


def recognise(frame: bytes) -> tuple[str, Sight] | None:
    """MAC and meaning of an Ethernet frame; None for what does not matter here, broken frames included."""
    if len(frame) < 14 + 20 + 8 or struct.unpack_from("!H", frame, 12)[0] != _ETH_P_IP:
        return None
    transport = 14 + (frame[14] & 0x0F) * 4
    if len(frame) < transport + 20:
        return None
    port = struct.unpack_from("!H", frame, transport + 2)[0]
    if (frame[23], port) == (_UDP, _DHCP_PORT):
        return _dhcp(frame[transport + 8 :])
    if (frame[23], port) == (_TCP, _HTTP_PORT):
        data = frame[transport + (frame[transport + 12] >> 4) * 4 :]
        return (frame[6:12].hex(":"), Sight.HOME) if data.startswith(_HOME) else None
    return None


def _dhcp(bootp: bytes) -> tuple[str, Sight] | None:
    if len(bootp) < 240 or bootp[0] != 1 or bootp[236:240] != _COOKIE:
        return None
    options: dict[int, bytes] = {}
    position = 240
    while position + 1 < len(bootp) and bootp[position] != 255:
        if bootp[position] == 0:
            position += 1
            continue
        end = position + 2 + bootp[position + 1]
        options[bootp[position]] = bootp[position + 2 : end]
        position = end
    if options.get(53, b"\0")[:1] not in (bytes([ask]) for ask in _ASKS):
        return None
    firmware = options.get(60, b"").startswith(_FIRMWARE)
    return bootp[28:34].hex(":"), Sight.FIRMWARE if firmware else Sight.SYSTEM


class Witness:
    """The watching process and what it has written down."""

    def __init__(self, namespace: str, file: Path) -> None:
        self._namespace = namespace
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(
                inside(self._namespace, [sys.executable, "-P", "-m", "provisioner.lab.witness"]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                start_new_session=True,
            )

    @property
    def watching(self) -> bool:
        """False when it died: then it has seen nothing, which proves nothing."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def seen(self) -> Iterator[Seen]:
        """What it has seen so far."""
        for line in self._file.read_text().splitlines():
            with suppress(ValueError):  # a line still being written
                yield Seen(**json.loads(line))

    def count(self, what: Sight, mac: str, since: int = 0) -> int:
        """How often ``mac`` was seen doing this from ``since`` (UTC microseconds) on."""
        return sum(1 for one in self.seen() if (one.mac, one.what) == (mac, what) and one.at >= since)


def main() -> None:
    """Watch the bridge until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as wire:
        _only_requests(wire)
        wire.bind((BRIDGE, _ETH_P_ALL))
        # Without it a bridge hands its own device broadcasts only.
        member = struct.pack("iHH8s", socket.if_nametoindex(BRIDGE), _PACKET_MR_PROMISC, 0, b"")
        wire.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
        while True:
            frame, _ = wire.recvfrom(2048)
            if (known := recognise(frame)) is not None:
                mac, what = known
                line = {"at": time.time_ns() // 1000, "mac": mac, "what": what}
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


def _only_requests(wire: socket.socket) -> None:
    """Let the kernel pass on only IPv4 to ports 67 and 80: images are gigabytes that nobody here has to read.

    Classic BPF, as ``tcpdump -d 'dst port 67 or dst port 80'`` has it: (code, if true skip, if false skip, value).
    """
    code = (
        (0x28, 0, 0, 12),  # load the EtherType
        (0x15, 0, 5, _ETH_P_IP),
        (0xB1, 0, 0, 14),  # X = length of the IP header
        (0x48, 0, 0, 16),  # load the destination port, X + 14 + 2
        (0x15, 1, 0, _DHCP_PORT),
        (0x15, 0, 1, _HTTP_PORT),
        (0x06, 0, 0, 0xFFFF),  # pass
        (0x06, 0, 0, 0),  # drop
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    attached = struct.pack("HL", len(code), ctypes.addressof(program))
    wire.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)


if __name__ == "__main__":
    main()
