"""Clusters in both databases, and in every process's snapshot."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import Conflict, InUse, NotFound, StaleEdit
from provisioner.domain.inventory import Inventory
from provisioner.storage.snapshot_file import read_snapshot, write_snapshot
from provisioner.storage.store import SqlStore
from tests.domain.samples import machine, subnet

CORE = Cluster(uuid4(), "core", "10.12.1.10:6443")


def test_clusters_are_kept_counted_and_unique(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        assert tx.clusters.put(CORE) == replace(CORE, version=1)
        assert tx.clusters.put(CORE).version == 1
        assert tx.clusters.put(replace(CORE, endpoint=""), expect_version=1).version == 2
        tx.clusters.put(Cluster(uuid4(), "atom"))
        assert [cluster.name for cluster in tx.clusters.list()] == ["atom", "core"]
        assert tx.clusters.get("core") == tx.clusters.get(str(CORE.id))
        with pytest.raises(StaleEdit, match="cluster core is at version 2, not 1"):
            tx.clusters.put(CORE, expect_version=1)
        with pytest.raises(Conflict, match="name 'core' already belongs to cluster core"):
            tx.clusters.put(Cluster(uuid4(), "core"))


def test_a_cluster_stays_while_a_slot_names_it(store: SqlStore) -> None:
    member = machine(cluster="core")
    with store.transaction("cli:test") as tx:
        tx.clusters.put(CORE)
        tx.machines.put(member)
        with pytest.raises(InUse, match="cluster 'core' is used by slot node-01"):
            tx.clusters.remove(CORE.id)
        tx.machines.remove(member.id)
        tx.clusters.remove(CORE.id)
        with pytest.raises(NotFound):
            tx.clusters.remove(CORE.id)


def test_the_snapshot_follows_clusters_and_keeps_them_on_disk(store: SqlStore, tmp_path: Path) -> None:
    known = store.inventory()
    with store.transaction("cli:test") as tx:
        tx.clusters.put(CORE)
    known = store.caught_up(known)
    assert known.clusters["core"].endpoint == "10.12.1.10:6443"
    write_snapshot(tmp_path / "s.jsonl", known)
    assert read_snapshot(tmp_path / "s.jsonl") == known == store.inventory()
    with store.transaction("cli:test") as tx:
        tx.clusters.put(replace(CORE, endpoint="[2001:db8::1]:6443"))
    known = store.caught_up(known)
    assert known.clusters["core"].endpoint == "[2001:db8::1]:6443"
    with store.transaction("cli:test") as tx:
        tx.clusters.remove(CORE.id)
    assert store.caught_up(known).clusters == {} == Inventory().clusters


def test_what_is_around_a_machine_is_its_cluster_and_every_subnet(store: SqlStore) -> None:
    clusters = {"node-01": "core", "node-02": "core", "node-03": "", "node-04": "atom"}
    first, second, alone, other = (
        machine(name, f"52:54:00:12:00:0{name[-1]}", f"10.12.1.1{name[-1]}", cluster=cluster)
        for name, cluster in clusters.items()
    )
    with store.transaction("cli:test") as tx:
        tx.clusters.put(CORE)
        tx.clusters.put(Cluster(uuid4(), "atom"))
        tx.subnets.put(subnet())
        for each in (first, second, alone, other):
            tx.machines.put(each)
    whole = store.inventory()
    near = store.around(whole.machines[first.id])
    assert near.machines == {each.id: whole.machines[each.id] for each in (first, second)}
    assert (near.subnets, near.clusters, near.seq) == (whole.subnets, whole.clusters, whole.seq)
    assert set(store.around(whole.machines[alone.id]).machines) == {alone.id}
