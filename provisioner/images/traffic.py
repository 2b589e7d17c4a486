"""The images service's bulk transfers: a cap that is fair, a pace, and how much goes where, while it goes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from provisioner.domain.machine import IPAddress
from provisioner.domain.ports import SnapshotSource
from provisioner.images.meter import Meter
from provisioner.images.turns import Turns

BULK = 1 << 20
"""Bytes; smaller answers wait for nobody."""
STALL_SECONDS = 300.0
"""A client that takes nothing for so long is gone. An installer may pause while its disk is slow."""
_SAMPLE_SECONDS = 1.0
_SO_MAX_PACING_RATE = 47
"""asm-generic/socket.h; Python 3.11's socket module has no name for it."""
_MOST_PACE = 0xFFFF_FFFE
_BYTES_ACKED = 120
"""Where tcpi_bytes_acked is in linux/tcp.h's struct tcp_info: bytes that the peer has, of the whole connection."""

Acked = Callable[[], int]


@dataclass(slots=True, eq=False)
class Sending:
    """A transfer under way. ``done`` is set when the kernel has taken its last byte."""

    label: str
    length: int
    acked: Acked
    before: int
    """Bytes that the connection had delivered when this one began."""
    counted: int = 0
    done: int | None = None


class Traffic(Collector):
    """Shared by all listeners of the images service; used in its loop only."""

    def __init__(
        self, snapshot: SnapshotSource, at_once: int, pace: int = 0, stall_seconds: float = STALL_SECONDS
    ) -> None:
        """``at_once``: bulk transfers. ``pace``: bytes a second that one connection gets at most; 0: no cap."""
        self._snapshot = snapshot
        self._turns = Turns(at_once)
        self._pace = min(pace, _MOST_PACE)
        self._stall_seconds = stall_seconds
        self._meter = Meter()
        self._under_way: set[Sending] = set()
        self._ticking = False
        self._registry = CollectorRegistry()
        self._registry.register(self)

    @asynccontextmanager
    async def sending(
        self, ip: IPAddress | None, length: int, sock: socket.socket | None
    ) -> AsyncIterator[Sending]:
        """Wait until ``length`` bytes may be sent, and count them while they are. Say in ``done`` how many were."""
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # For a closed window, too (tcp(7)): who stops reading gives its turn back.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._stall_seconds * 1000))
        if length < BULK:
            async with self._counted(ip, length, sock) as sending:
                yield sending
            return
        async with self._turns.turn(ip):
            if self._pace and sock is not None:
                # The kernel spaces the packets: no timer here, and nobody else's transfer waits for it.
                sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("=I", self._pace))
            async with self._counted(ip, length, sock) as sending:
                yield sending

    @asynccontextmanager
    async def _counted(
        self, ip: IPAddress | None, length: int, sock: socket.socket | None
    ) -> AsyncIterator[Sending]:
        # Only listed machines have a count of their own: others could be any number.
        listed = ip is not None and self._snapshot.inventory.by_ip(ip) is not None
        sending = Sending(str(ip) if listed else "other", length, partial(_acked, sock), _acked(sock))
        self._under_way.add(sending)
        self._tick_later()
        try:
            yield sending
        finally:
            self._under_way.discard(sending)
            self._meter.count(sending.label, (sending.done or 0) - sending.counted)

    def _look(self) -> None:
        """Count what the machines have received of transfers that are under way."""
        for sending in self._under_way:
            received = min(max(0, sending.acked() - sending.before), sending.length)
            self._meter.count(sending.label, received - sending.counted)
            sending.counted = max(sending.counted, received)

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            loop = asyncio.get_running_loop()
            loop.call_later(_SAMPLE_SECONDS, self._tick, loop.time())

    def _tick(self, begun: float) -> None:
        """Once a second while something moves; not at all in a service that nobody asks."""
        self._look()
        self._meter.sample(asyncio.get_running_loop().time() - begun)
        self._ticking = False
        if self._under_way or not self._meter.still:
            self._tick_later()

    def metrics(self) -> bytes:
        """Prometheus text format: addresses, no names, so that no account is needed."""
        self._look()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """What Prometheus reads."""
        sent = CounterMetricFamily("provisioner_images_sent_bytes", "Bytes of files sent.", labels=["ip"])
        for ip, amount in self._meter.total.items():
            sent.add_metric([ip], amount)
        yield sent
        rates = self._meter.rates()
        rate = GaugeMetricFamily(
            "provisioner_images_bytes_per_second", "Bytes of files a second, over five seconds.", labels=["ip"]
        )
        for ip, speed in rates.items():
            rate.add_metric([ip], speed)
        yield rate
        yield CounterMetricFamily(
            "provisioner_images_sent_all_bytes", "Bytes sent in all.", sum(self._meter.total.values())
        )
        yield GaugeMetricFamily(
            "provisioner_images_all_bytes_per_second", "Bytes a second in all.", sum(rates.values())
        )
        yield GaugeMetricFamily("provisioner_images_transfers", "Bulk transfers under way.", self._turns.running)
        yield GaugeMetricFamily(
            "provisioner_images_waiting", "Bulk transfers that wait for a turn.", self._turns.waiting
        )


def _acked(sock: socket.socket | None) -> int:
    """Bytes that the peer of a connection has acknowledged; 0 when that cannot be told."""
    if sock is None:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    except OSError:
        return 0  # Closed under our hands, or no TCP: what was sent is counted at the end.
    return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0]) if len(info) == _BYTES_ACKED + 8 else 0
