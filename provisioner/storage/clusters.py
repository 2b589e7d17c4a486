"""The cluster repository."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select, update

from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import Conflict, InUse
from provisioner.storage import tables
from provisioner.storage.session import Session, check_version, differing, found, uuid_or_none
from provisioner.storage.tables import clusters as table

KIND = "cluster"
_FIELDS = ("name", "endpoint")


def load_clusters(connection: Connection) -> list[Cluster]:
    """All, by name."""
    return [_cluster(row) for row in connection.execute(select(table).order_by(table.c.name))]


class ClusterRows:
    """Implements ``ports.Repository[Cluster]``; the natural name is the name."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def find(self, ref: str) -> Cluster | None:
        row = self._run(select(table).where(table.c.name == ref)).one_or_none()
        if row is None and (cluster_id := uuid_or_none(ref)):
            return self._by_id(cluster_id)
        return _cluster(row) if row else None

    def get(self, ref: str) -> Cluster:
        return found(self.find(ref), KIND, ref)

    def list(self) -> Sequence[Cluster]:
        return load_clusters(self._session.connection)

    def put(self, item: Cluster, expect_version: int | None = None) -> Cluster:
        stored = self._by_id(item.id)
        check_version(KIND, item.name, stored.version if stored else None, expect_version)
        same_name = self._run(select(table.c.id).where(table.c.name == item.name)).scalar_one_or_none()
        if same_name is not None and same_name != item.id:
            remedy = f"`provisioner cluster set {item.name}` changes it"
            raise Conflict("name", item.name, f"cluster {item.name}", remedy)
        fields = differing(stored, item, _FIELDS)
        item = replace(item, version=stored.version + bool(fields) if stored else 1)
        values = {"id": item.id, "name": item.name, "endpoint": item.endpoint, "version": item.version}
        self._session.change(KIND, item.id)
        if stored is None:
            self._run(insert(table), values)
        else:
            self._run(update(table).where(table.c.id == item.id).values(values))
        self._session.record("put", KIND, item.id, item.name, fields)
        return item

    def remove(self, item_id: UUID) -> None:
        cluster = found(self._by_id(item_id), KIND, item_id)
        s = tables.slots
        member = self._run(select(s.c.name).where(s.c.cluster == cluster.name).order_by(s.c.name)).scalars().first()
        if member is not None:
            remedy = f"`provisioner slot set {member} --cluster ''`, and so with its other members, first"
            raise InUse(KIND, cluster.name, f"slot {member}", remedy)
        self._session.change(KIND, item_id)
        self._run(delete(table).where(table.c.id == item_id))
        self._session.record("remove", KIND, item_id, cluster.name, {})

    def _by_id(self, cluster_id: UUID) -> Cluster | None:
        row = self._run(select(table).where(table.c.id == cluster_id)).one_or_none()
        return _cluster(row) if row else None


def _cluster(row: Row[Any]) -> Cluster:
    return Cluster(row.id, row.name, row.endpoint, row.version)
