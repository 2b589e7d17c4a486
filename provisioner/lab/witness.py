"""Watches the lab's wire: which DHCP requests came from whom, told by the packets and not by the appliance.

Runs as a process of its own in the wire's namespace (``python -m provisioner.lab.witness``), because a socket is
bound to the namespace it was opened in. One JSON line a request on stdout: ``{"at", "mac", "vendor", "firmware"}``,
``at`` in UTC microseconds. Firmware and iPXE say PXEClient or HTTPClient in option 60 (RFC 4578 §3, UEFI 2.10
§24.7), an operating system's client does not: so a request without it after the install's end proves that the
installed system did *not* live from its static address alone.
"""

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab.network import BRIDGE
from provisioner.lab.programs import inside

_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_UDP = 17
_COOKIE = bytes.fromhex("63825363")
_FIRMWARE = (b"PXEClient", b"HTTPClient")


@dataclass(frozen=True)
class Request:
    """One DHCP packet from a client. ``firmware``: from a boot ROM or iPXE, not from an operating system."""

    at: int
    mac: str
    vendor: str
    firmware: bool


def read_request(frame: bytes) -> tuple[str, bytes] | None:
    """Client MAC and vendor class of an Ethernet frame that is a DHCP request over IPv4; None for anything else."""
    if len(frame) < 14 + 20 + 8 + 240 or struct.unpack_from("!H", frame, 12)[0] != _ETH_P_IP:
        return None
    header = (frame[14] & 0x0F) * 4
    udp = 14 + header
    if frame[23] != _UDP or len(frame) < udp + 248 or struct.unpack_from("!H", frame, udp + 2)[0] != 67:
        return None
    bootp = frame[udp + 8 :]
    if bootp[0] != 1 or bootp[236:240] != _COOKIE:
        return None
    vendor, position = b"", 240
    while position + 1 < len(bootp) and bootp[position] != 255:
        if bootp[position] == 0:
            position += 1
            continue
        code, length = bootp[position], bootp[position + 1]
        if code == 60:
            vendor = bootp[position + 2 : position + 2 + length]
        position += 2 + length
    return bootp[28:34].hex(":"), vendor


class Witness:
    """The watching process and what it has written down."""

    def __init__(self, namespace: str, file: Path) -> None:
        self._namespace = namespace
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(
                inside(self._namespace, [sys.executable, "-m", "provisioner.lab.witness"]),
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

    def requests(self) -> Iterator[Request]:
        """What it has seen so far."""
        for line in self._file.read_text().splitlines():
            with suppress(ValueError):  # a line still being written
                yield Request(**json.loads(line))

    def system_requests(self, mac: str, since: int) -> list[Request]:
        """DHCP requests of an operating system at ``mac`` from ``since`` (UTC microseconds) on."""
        return [seen for seen in self.requests() if seen.mac == mac and seen.at >= since and not seen.firmware]


def main() -> None:
    """Watch the bridge until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as wire:
        wire.bind((BRIDGE, _ETH_P_ALL))
        while True:
            frame, _ = wire.recvfrom(2048)
            if (seen := read_request(frame)) is None:
                continue
            mac, vendor = seen
            request = {
                "at": time.time_ns() // 1000,
                "mac": mac,
                "vendor": vendor.decode("ascii", "replace"),
                "firmware": vendor.startswith(_FIRMWARE),
            }
            sys.stdout.write(json.dumps(request) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
