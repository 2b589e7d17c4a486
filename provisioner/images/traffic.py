"""How many bulk transfers run at once, whose turn is next, and how much went where."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from provisioner.domain.machine import IPAddress
from provisioner.domain.ports import SnapshotSource

BULK = 1 << 20
"""Bytes; smaller answers wait for nobody."""


class Traffic(Collector):
    """Shared by all listeners of the images service; used in its loop only."""

    def __init__(self, snapshot: SnapshotSource, at_once: int) -> None:
        """``at_once``: bulk transfers; the others wait in the order in which they came."""
        self._snapshot = snapshot
        # A semaphore's waiters are served first come, first served: a storm ends in the order it began.
        self._turns = asyncio.Semaphore(at_once)
        self._running = 0
        self._waiting = 0
        self._bytes: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    @asynccontextmanager
    async def turn(self, length: int) -> AsyncIterator[None]:
        """Wait until ``length`` bytes may be sent."""
        if length < BULK:
            yield
            return
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._turns.release()

    def sent(self, ip: IPAddress | None, amount: int) -> None:
        """Count bytes. Only listed machines have a count of their own: others could be any number."""
        listed = ip is not None and self._snapshot.inventory.by_ip(ip) is not None
        self._bytes[str(ip) if listed else "other"] += amount

    def metrics(self) -> bytes:
        """Prometheus text format: addresses, no names, so that no account is needed."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """What Prometheus reads."""
        sent = CounterMetricFamily("provisioner_images_sent_bytes", "Bytes of files sent.", labels=["ip"])
        for ip, amount in self._bytes.items():
            sent.add_metric([ip], amount)
        yield sent
        yield CounterMetricFamily(
            "provisioner_images_sent_all_bytes", "Bytes sent in all.", sum(self._bytes.values())
        )
        yield GaugeMetricFamily("provisioner_images_transfers", "Bulk transfers under way.", self._running)
        yield GaugeMetricFamily("provisioner_images_waiting", "Bulk transfers that wait for a turn.", self._waiting)
