"""A TFTP client and a wire without sockets: packets can be lost, doubled and delayed; time is a number."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from provisioner.tftp.packet import Ack, Data, Error, Opcode, OptionAck, Packet, Request, decode, encode
from provisioner.tftp.transfer import Transfer

CLIENT = ("192.0.2.7", 2070)


@dataclass
class Content:
    """A source; ``pattern`` makes big ones without memory."""

    content: bytes = b""
    pattern_size: int = 0

    @property
    def size(self) -> int:
        return self.pattern_size or len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        if not self.pattern_size:
            return self.content[offset : offset + length]
        return (offset // 7).to_bytes(8, "big")[:length].ljust(length, b"\0")


def ask(name: str = "a", **options: object) -> Request:
    return Request(Opcode.RRQ, name, "octet", {key: str(value) for key, value in options.items()})


def packets(transfer: Transfer) -> list[Packet]:
    """What the transfer says now, decoded."""
    return [decode(data) for data, _ in transfer.datagrams_to_send()]


def acknowledge(transfer: Transfer, block: int, now: float) -> list[Packet]:
    transfer.receive_datagram(encode(Ack(block & 0xFFFF)), CLIENT, now)
    return packets(transfer)


@dataclass
class Client:
    """Receives as RFC 1350 and RFC 7440 say: one ACK a window, one for the last good block after a gap."""

    windowsize: int = 1
    blksize: int = 512
    received: bytearray = field(default_factory=bytearray)
    blocks: int = 0
    in_window: int = 0
    done: bool = False
    error: Error | None = None

    def take(self, packet: Packet) -> list[Packet]:
        match packet:
            case OptionAck(options):
                self.blksize = int(options.get("blksize", 512))
                self.windowsize = int(options.get("windowsize", 1))
                return [Ack(0)]
            case Error():
                self.error = packet
                return []
            case Data(block, payload):
                return self._data(block, payload)
            case _:
                raise AssertionError(packet)

    def _data(self, block: int, payload: bytes) -> list[Packet]:
        if block != (self.blocks + 1) & 0xFFFF:
            self.in_window = 0
            return [Ack(self.blocks & 0xFFFF)]
        self.received += payload
        self.blocks += 1
        self.in_window += 1
        self.done = self.done or len(payload) < self.blksize
        if self.done or self.in_window == self.windowsize:
            self.in_window = 0
            return [Ack(self.blocks & 0xFFFF)]
        return []


def run(
    transfer: Transfer,
    client: Client,
    lost: Callable[[], bool] = lambda: False,
    doubled: Callable[[], bool] = lambda: False,
    seconds: float = 3600,
) -> tuple[float, int]:
    """Carry packets until the transfer ends; returns the time it took and the DATA packets sent."""
    now, sent, to_server = 0.0, 0, list[Packet]()
    heard = now
    last: list[Packet] = []
    while transfer.outcome is None and now < seconds:
        replies: list[Packet] = []
        for datagram, _ in transfer.datagrams_to_send():
            packet = decode(datagram)
            sent += isinstance(packet, Data)
            for _ in range(0 if lost() else 2 if doubled() else 1):
                heard = now
                replies += client.take(packet)
        to_server = replies
        if to_server:
            last = to_server[-1:]
        elif now - heard >= 4 and last and not client.done:
            to_server, heard = last, now  # A client repeats its last word when it hears nothing.
        if not to_server:
            timer = transfer.get_timer()
            now = max(now, min(timer if timer is not None else now, now + 1.0))
            transfer.handle_timer(now)
            continue
        now += 0.001
        for packet in to_server:
            if not lost():
                transfer.receive_datagram(encode(packet), CLIENT, now)
    return now, sent


def chance(seed: int, share: float) -> Callable[[], bool]:
    source = random.Random(seed)
    return lambda: source.random() < share
