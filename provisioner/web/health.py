"""Is it alive, is it ready, and numbers for Prometheus. Counts only: no names, so no account is needed."""

from collections import Counter
from collections.abc import Iterator

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.machine import State
from provisioner.web.packets_numbers import published
from provisioner.web.parts import Parts


class Health:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._registry = CollectorRegistry()
        self._registry.register(_Numbers(parts))

    def alive(self) -> Response:
        """The process answers."""
        return Response("ok\n", media_type="text/plain")

    def ready(self) -> Response:
        """The database answers too; 503 while it is away (reserved machines go on booting)."""
        try:
            with self._parts.store.reading() as tx:
                tx.events.list(limit=1)
        except StoreUnavailable as error:
            return Response(f"{error}\n", 503, media_type="text/plain", headers={"Retry-After": "5"})
        return Response("ready\n", media_type="text/plain")

    def metrics(self) -> Response:
        """Prometheus text format."""
        body = generate_latest(self._registry) + published(self._parts.packets_metrics).encode()
        return Response(body, media_type=CONTENT_TYPE_LATEST)


class _Numbers(Collector):
    """Read at each scrape; nothing is counted on the way of a request."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        inventory = self._parts.snapshot.inventory
        states = Counter(machine.state for machine in inventory.machines.values())
        machines = GaugeMetricFamily("provisioner_machines", "Machines by state.", labels=["state"])
        for state in State:
            machines.add_metric([state.value], states[state])
        yield machines
        yield GaugeMetricFamily("provisioner_subnets", "Subnets.", len(inventory.subnets))
        yield GaugeMetricFamily("provisioner_snapshot_seq", "Last change in this snapshot.", inventory.seq)
        try:
            with self._parts.store.reading() as tx:
                newest = tx.events.list(limit=1)
        except StoreUnavailable:
            yield GaugeMetricFamily("provisioner_database_up", "Does the database answer?", 0)
            return
        yield GaugeMetricFamily("provisioner_database_up", "Does the database answer?", 1)
        yield CounterMetricFamily("provisioner_events", "Events stored.", newest[0].id if newest else 0)
