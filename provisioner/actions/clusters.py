"""Clusters into and out of the inventory."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import Conflict, InvalidValue
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import Store

FIELDS = ("endpoint",)

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
# It ends up in configs of every format: nothing that could need quoting there.
_ENDPOINT = re.compile(rf"(?:https?://)?{_HOST}(?::(?P<port>\d{{1,5}}))?\Z")


def put_cluster(
    store: Store,
    name: str,
    fields: Mapping[str, Any],
    *,
    actor: str,
    now: int,
    expect_version: int | None = None,
    create: bool = False,
) -> Cluster:
    """List a cluster (``create``), or set the named fields of one that is listed.

    Raises NotFound, InvalidValue, Conflict, StaleEdit.
    """
    with store.transaction(actor) as tx:
        if create:
            name = read.label(name, "name", "a cluster's name", "core")
            if tx.clusters.find(name) is not None:
                raise Conflict("name", name, f"cluster {name}", f"`provisioner cluster set {name}` changes it")
        before = Cluster(uuid4(), name) if create else tx.clusters.get(name)
        after = with_fields(before, fields)
        if after == before and not create:
            return after
        stored = tx.clusters.put(after, expect_version)
        verb = "listed" if create else "changed"
        message = f"{verb} cluster {stored.name}: {describe(stored)}"
        tx.events.add(Event(Kind.CLUSTER_CHANGED, message, now, actor=actor))
        return stored


def remove_cluster(store: Store, ref: str, *, actor: str, now: int, expect_version: int | None = None) -> None:
    """Forget a cluster. Refused while a slot names it."""
    with store.transaction(actor) as tx:
        cluster = tx.clusters.get(ref)
        if expect_version is not None:
            tx.clusters.put(cluster, expect_version)
        tx.clusters.remove(cluster.id)
        tx.events.add(Event(Kind.CLUSTER_CHANGED, f"removed cluster {cluster.name}", now, actor=actor))


def describe(cluster: Cluster) -> str:
    """What matters of a cluster in one line."""
    return f"endpoint {cluster.endpoint or 'none'}"


def with_fields(cluster: Cluster, fields: Mapping[str, Any]) -> Cluster:
    """The cluster with the named fields set. Raises InvalidValue."""
    for field in fields:
        if field not in FIELDS:
            raise InvalidValue("field", field, "is not known", f"known fields: {', '.join(FIELDS)}")
    return replace(cluster, endpoint=_endpoint(fields["endpoint"])) if "endpoint" in fields else cluster


def _endpoint(value: Any) -> str:
    text = str(value or "").strip()
    found = _ENDPOINT.match(text)
    if text and (found is None or int(found["port"] or 1) not in range(1, 65536)):
        remedy = "write HOST, HOST:PORT or https://HOST:PORT, like 10.12.1.10:6443"
        raise InvalidValue("endpoint", text[:80], "is no endpoint", remedy)
    return text
