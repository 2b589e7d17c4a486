"""A TFTP client that reads many files at once, and a relay that makes its wire longer."""

import heapq
import select
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from tests.bench.tftp_servers import HERE

MIB = 1 << 20
RELAY_PORT = 6969


@dataclass
class Read:
    """One transfer of the TFTP client."""

    sock: socket.socket
    windowsize: int
    blksize: int
    expected: int
    peer: tuple[str, int]
    block: int = 0
    in_window: int = 0
    received: int = 0
    last: bytes = b""
    heard: float = 0.0
    done: bool = False

    def take(self, data: bytes, sender: tuple[str, int], now: float) -> None:
        kind = data[1]
        self.heard = now
        if kind == 6:
            self.peer = sender
            return self.say(b"\0\4\0\0")
        if kind != 3:
            raise RuntimeError(f"the server refused: {data!r}")
        self.peer = sender
        if data[2:4] != ((self.block + 1) & 0xFFFF).to_bytes(2, "big"):
            self.in_window = 0
            return None if self.windowsize == 1 else self.acknowledge()
        self.block += 1
        self.received += len(data) - 4
        self.in_window += 1
        self.done = len(data) - 4 < self.blksize
        return self.acknowledge() if self.done or self.in_window == self.windowsize else None

    def acknowledge(self) -> None:
        self.in_window = 0
        self.say(b"\0\4" + (self.block & 0xFFFF).to_bytes(2, "big"))

    def say(self, data: bytes) -> None:
        self.last = data
        self.sock.sendto(data, self.peer)


def read_all(name: str, size: int, clients: int, blksize: int, windowsize: int, port: int = 69) -> float:
    """MiB/s of ``clients`` reads at once. Raises RuntimeError when they don't end."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        reads: dict[int, Read] = {}
        request = f"\0\1{name}\0octet\0blksize\0{blksize}\0".encode()
        if windowsize > 1:
            request += f"windowsize\0{windowsize}\0".encode()
        begun = time.monotonic()
        for _ in range(clients):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.setblocking(False)
            read = Read(sock, windowsize, blksize, size, (HERE, port), heard=begun)
            read.say(request)
            reads[sock.fileno()] = read
            poll.register(sock, select.EPOLLIN)
        left = clients
        while left:
            now = time.monotonic()
            if now - begun > 120:
                raise RuntimeError(f"{left} of {clients} reads did not end within 120 s")
            for fd, _ in poll.poll(0.2):
                read = reads[fd]
                with suppress(BlockingIOError):
                    for _ in range(64):
                        data, sender = read.sock.recvfrom(70_000)
                        read.take(data, sender, now)
                        if read.done:
                            poll.unregister(fd)
                            left -= 1
                            break
            for read in reads.values():
                if not read.done and now - read.heard > 1:
                    read.heard = now
                    read.say(read.last)
        seconds = time.monotonic() - begun
    short = [read.received for read in reads.values() if read.received != size]
    if short:
        raise RuntimeError(f"{short[0]} of {size} bytes arrived")
    return clients * size / MIB / seconds


def relay(delay: float) -> None:
    """Between a client and port 69, ``delay`` seconds each way; one client. Runs for ever."""
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind((HERE, RELAY_PORT))
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind((HERE, 0))
    client, server = ("", 0), (HERE, 69)
    queue: list[tuple[float, int, socket.socket, bytes, tuple[str, int]]] = []
    number = 0
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else 1.0
        for sock in select.select([near, far], [], [], wait)[0]:
            data, sender = sock.recvfrom(70_000)
            # Where it goes is settled now: a later request must not carry away the last ACK of this one.
            if sock is near:
                client, server = sender, (HERE, 69) if data[1] == 1 else server
                out, to = far, server
            else:
                server = sender
                out, to = near, client
            number += 1
            heapq.heappush(queue, (time.monotonic() + delay, number, out, data, to))
        while queue and queue[0][0] <= time.monotonic():
            _, _, out, data, to = heapq.heappop(queue)
            out.sendto(data, to)
