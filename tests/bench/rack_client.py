"""The storm's machines: each speaks DHCP, TFTP, HTTP and the callbacks as firmware, iPXE and install.sh do.

``python -m tests.bench.rack_client`` reads a ``Rack`` as JSON and prints what became of each machine. One process,
one event loop; bytes of images are counted and thrown away.
"""

import asyncio
import json
import re
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

STEPS = ("dhcp", "loader", "dhcp-ipxe", "script", "kernel", "initrd", "config", "report")
_COOKIE = b"\x63\x82\x53\x63"
_DHCP_SECONDS = (4.0, 8.0, 16.0, 32.0)
"""As firmware waits: RFC 2131 §4.1, without the random second."""
_TFTP_SECONDS = 2.0
_TFTP_TRIES = 8
_BUFFER = bytearray(1 << 20)
_SO_RCVBUFFORCE = 33
"""asm-generic/socket.h."""


@dataclass(frozen=True)
class Rack:
    """``machines``: MAC and reserved address; all behind the relay."""

    server: str
    relay: str
    loader: str
    machines: list[tuple[str, str]]


@dataclass
class Outcome:
    """``tries``: the most that one DHCP question took."""

    mac: str
    tries: int = 0
    error: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


class Dhcp(asyncio.DatagramProtocol):
    """All machines' questions through one relay's socket; answers find their machine by xid."""

    def __init__(self, server: str, relay: str) -> None:
        self._server = server
        self._relay = socket.inet_aton(relay)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._xid = 0x5000_0000
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, _addr: object) -> None:
        waiting = self._waiting.get(int.from_bytes(data[4:8], "big"))
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    async def lease(self, mac: bytes, *, ipxe: bool) -> tuple[str, str, int]:
        """Address, boot file, and the most tries that DISCOVER or REQUEST took."""
        offer, first = await self._ask(mac, 1, b"", ipxe)
        given = offer[16:20]
        server = _options(offer)[54]
        wanted = b"\x32\x04" + given + b"\x36\x04" + server
        ack, second = await self._ask(mac, 3, wanted, ipxe)
        options = _options(ack)
        if options[53] != b"\5":
            raise RuntimeError("DHCP NAK")
        file = options.get(67, ack[108:236]).rstrip(b"\0").decode()
        return socket.inet_ntoa(ack[16:20]), file, max(first, second)

    async def _ask(self, mac: bytes, kind: int, more: bytes, ipxe: bool) -> tuple[bytes, int]:
        self._xid += 1
        xid = self._xid
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[xid] = waiting
        packet = self._packet(xid, mac, kind, more, ipxe)
        assert self._transport is not None
        try:
            for tries, seconds in enumerate(_DHCP_SECONDS, 1):
                self._transport.sendto(packet, (self._server, 67))
                try:
                    return await asyncio.wait_for(asyncio.shield(waiting), seconds), tries
                except TimeoutError:
                    continue
            raise RuntimeError("no DHCP answer")
        finally:
            del self._waiting[xid]

    def _packet(self, xid: int, mac: bytes, kind: int, more: bytes, ipxe: bool) -> bytes:
        nobody = b""
        addresses = (nobody, nobody, nobody, self._relay)
        head = struct.pack("!BBBBIHH4s4s4s4s16s64s128s", 1, 1, 6, 1, xid, 0, 0, *addresses, mac, b"", b"")
        vendor = b"PXEClient:Arch:00000:UNDI:002001"
        options = b"\x35\x01" + bytes([kind]) + b"\x39\x02\x05\xdc" + b"\x37\x05\x01\x03\x06\x42\x43"
        options += bytes([60, len(vendor)]) + vendor + b"\x5d\x02\0\0" + b"\x5e\x03\1\2\1"
        options += b"\x61\x11\0" + bytes(10) + mac
        return head + _COOKIE + options + (b"\x4d\x04iPXE" if ipxe else b"") + more + b"\xff"


def _options(packet: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 240
    while at < len(packet) and packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        length = packet[at + 1]
        found[packet[at]] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    return found


async def tftp(ip: str, server: str, name: str) -> int:
    """Read a file as a PXE ROM does (blksize 1468, lock step); its size."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((ip, 0))
        message, to = b"\0\1" + name.encode() + b"\0octet\0tsize\0" + b"0\0blksize\0" + b"1468\0", (server, 69)
        expected, size, blksize, tries = 1, 0, 512, 0
        while True:
            sock.sendto(message, to)
            try:
                data, sender = await asyncio.wait_for(loop.sock_recvfrom(sock, 2048), _TFTP_SECONDS)
            except TimeoutError:
                tries += 1
                if tries > _TFTP_TRIES:
                    raise RuntimeError(f"TFTP: {name} stalled at {size} bytes") from None
                continue
            kind, number = struct.unpack("!HH", data[:4])
            if kind == 5:
                raise RuntimeError(f"TFTP: {data[4:].decode(errors='replace')}")
            to = sender
            if kind == 6:
                blksize, message = 1468, b"\0\4\0\0"
            elif kind == 3 and number == expected & 0xFFFF:
                size, tries = size + len(data) - 4, 0
                message, expected = b"\0\4" + data[2:4], expected + 1
                if len(data) - 4 < blksize:
                    sock.sendto(message, to)
                    return size


async def http(ip: str, url: str, body: bytes | None = None, *, bulk: bool = False) -> bytes:
    """GET, or POST a body; the answer's body, or nothing when it is ``bulk``. Raises RuntimeError."""
    loop = asyncio.get_running_loop()
    host, _, path = url.removeprefix("http://").partition("/")
    address, _, port = host.partition(":")
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.bind((ip, 0))
        await loop.sock_connect(sock, (address, int(port or 80)))
        length = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        verb = "GET" if body is None else "POST"
        head = f"{verb} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}\r\n".encode()
        await loop.sock_sendall(sock, head + (body or b""))
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = await loop.sock_recv(sock, 65536)
            if not more:
                raise RuntimeError(f"{url}: closed within the headers")
            answer += more
        headers, _, rest = answer.partition(b"\r\n\r\n")
        status = int(headers.split(b" ", 2)[1])
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", headers)
        missing = int(found[1]) - len(rest) if found else 0
        parts = [rest]
        while missing > 0:
            # The buffer is everybody's: only what nobody reads goes there.
            part = b"" if bulk else await loop.sock_recv(sock, 65536)
            got = await loop.sock_recv_into(sock, _BUFFER) if bulk else len(part)
            if not got:
                raise RuntimeError(f"{url}: {missing} bytes are missing")
            parts.append(part)
            missing -= got
        if status >= 300:
            raise RuntimeError(f"{url.rpartition('/')[2]}: {status} {b''.join(parts)[:200]!r}")
        return b"".join(parts)


async def boot(rack: Rack, dhcp: Dhcp, mac: str, ip: str) -> Outcome:
    """One machine from power-on to its last callback, or to what went wrong."""
    outcome = Outcome(mac)
    begun = time.monotonic()
    try:
        await _chain(rack, dhcp, outcome, ip)
        outcome.seconds["total"] = time.monotonic() - begun
    except (RuntimeError, OSError, KeyError) as error:
        outcome.error = f"{type(error).__name__}: {error}"
    return outcome


async def _chain(rack: Rack, dhcp: Dhcp, outcome: Outcome, ip: str) -> None:
    last = time.monotonic()

    def step(name: str) -> None:
        nonlocal last
        now = time.monotonic()
        outcome.seconds[name] = now - last
        last = now

    hardware = bytes.fromhex(outcome.mac.replace(":", ""))
    given, file, outcome.tries = await dhcp.lease(hardware, ipxe=False)
    if (given, file) != (ip, rack.loader):
        raise RuntimeError(f"was given {given} and {file!r}")
    step("dhcp")
    await tftp(ip, rack.server, file)
    step("loader")
    _, url, tries = await dhcp.lease(hardware, ipxe=True)
    outcome.tries = max(outcome.tries, tries)
    step("dhcp-ipxe")
    script = (await http(ip, re.sub(r"\$\{[^}]*\}", "", url))).decode()
    step("script")
    kernel, token = re.search(r"^kernel (\S+)", script, re.M), re.search(r"(http://\S+/b/[^/]+)/pxe\.yml", script)
    initrd = re.search(r"^initrd (\S+)", script, re.M)
    if not (kernel and initrd and token):
        raise RuntimeError(f"no install in the script: {script[:200]!r}")
    await http(ip, kernel[1], bulk=True)
    step("kernel")
    await http(ip, initrd[1], bulk=True)
    step("initrd")
    for part in ("pxe.yml", "install.sh", "config.yml"):
        await http(ip, f"{token[1]}/{part}")
    step("config")
    for phase in ("clock", "disk", "image", "written"):
        await http(ip, f"{token[1]}/progress", json.dumps({"phase": phase}).encode())
    await http(ip, f"{token[1]}/complete", b"{}")
    step("report")


async def main(rack: Rack) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    port = socket.socket(type=socket.SOCK_DGRAM)
    # The answers to all machines come here at once, where each would have a card of its own.
    port.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    port.setblocking(False)
    port.bind((rack.relay, 67))
    transport, dhcp = await loop.create_datagram_endpoint(lambda: Dhcp(rack.server, rack.relay), sock=port)
    try:
        return await asyncio.gather(*(boot(rack, dhcp, mac, ip) for mac, ip in rack.machines))
    finally:
        transport.close()


if __name__ == "__main__":
    asked = Rack(**json.load(sys.stdin))
    json.dump([asdict(outcome) for outcome in asyncio.run(main(asked))], sys.stdout)
