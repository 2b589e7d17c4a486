"""Clusters: what their machines share. Who belongs to one is said on the slots."""

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict

from provisioner.actions import clusters
from provisioner.actions import edits as saving
from provisioner.domain.cluster import Cluster
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.web.api import edits
from provisioner.web.api.edits import IfMatch, Plan
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class ClusterOut(BaseModel):
    """``machines``: names of its members, in the order of their slots."""

    id: str
    name: str
    endpoint: str
    machines: list[str]
    version: int


class ClusterFields(BaseModel):
    """Left out: unchanged; null or empty: taken away."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str | None = None


class NewCluster(ClusterFields):
    name: str


class Clusters:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 200) -> Page[ClusterOut]:
        """By name."""
        with self._parts.store.reading() as tx:
            found = tx.clusters.list()
        return cut(found, lambda cluster: cluster.name, after, limit, self._shown)

    def one(self, ref: str, response: Response) -> ClusterOut:
        """By name or id."""
        with self._parts.store.reading() as tx:
            return self._tagged(tx.clusters.get(ref), response)

    def add(self, fields: NewCluster, request: Request, response: Response) -> ClusterOut:
        """Refused when the name is taken."""
        cluster = clusters.put_cluster(
            self._parts.store,
            fields.name,
            fields.model_dump(exclude_unset=True, exclude={"name"}),
            actor=actor(request),
            now=self._parts.clock(),
            create=True,
        )
        response.headers["Location"] = f"/api/v1/clusters/{cluster.id}"
        return self._tagged(cluster, response)

    def change(
        self,
        ref: str,
        fields: ClusterFields,
        request: Request,
        response: Response,
        plan: Plan = "",
        if_match: IfMatch = None,
    ) -> ClusterOut:
        """Machines that are armed already keep what was compiled for them."""
        cluster = saving.change_cluster(
            self._parts.store,
            self._parts.planner,
            ref,
            fields.model_dump(exclude_unset=True),
            plan=plan,
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
        )
        return self._tagged(cluster, response)

    def remove(self, ref: str, request: Request, if_match: IfMatch = None) -> None:
        """Refused while a slot names it."""
        clusters.remove_cluster(
            self._parts.store,
            ref,
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
        )

    def _tagged(self, cluster: Cluster, response: Response) -> ClusterOut:
        edits.tag(response, cluster.version)
        return self._shown(cluster)

    def _shown(self, cluster: Cluster) -> ClusterOut:
        return ClusterOut(
            id=str(cluster.id),
            name=cluster.name,
            endpoint=cluster.endpoint,
            machines=members(self._parts.snapshot.inventory, cluster.name),
            version=cluster.version,
        )


def members(inventory: Inventory, cluster: str) -> list[str]:
    """Names of the machines whose slots name this cluster."""
    found = (machine for machine in inventory.machines.values() if machine.slot.cluster == cluster)
    return [machine.name for machine in sorted(found, key=slot_order)]
