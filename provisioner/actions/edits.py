"""Parameters saved with open eyes: who comes out differently is looked at first, and named by the plan's hash.

What a machine was told, or what an edit reaches beyond the machine that it names, is not changed in passing.
"""

from dataclasses import replace

from provisioner.actions import clusters, enrol, slots
from provisioner.actions.intent import Fields, planned, rules_in
from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import PlanNeeded, Refused, StaleEdit
from provisioner.domain.machine import Machine
from provisioner.domain.place import Place
from provisioner.domain.ports import EditPlanner, Store
from provisioner.domain.role_plan import EditPlan

_SHOWN = 5


def plan_machine(
    store: Store, planner: EditPlanner, ref: str, fields: Fields, *, now: int, roles: frozenset[str] | None = None
) -> tuple[EditPlan, int]:
    """What these fields would change, and the version of the machine that was looked at. Changes nothing.

    Raises NotFound, InvalidValue.
    """
    with store.reading() as tx:
        before = tx.machines.get(ref)
        after = planned(before, fields, now=now, rules=rules_in(tx, roles))
    inventory = store.inventory()
    there = inventory.machines.get(before.id, before)
    edited = inventory.with_machines({before.id: replace(there, slot=after.slot)}, inventory.seq)
    return planner.plan_edit(inventory, edited, before.id), before.version


def plan_slot(
    store: Store, planner: EditPlanner, ref: str, fields: Fields, *, now: int, roles: frozenset[str] | None = None
) -> tuple[EditPlan, int | None]:
    """As ``plan_machine`` for what sits in the place; an empty one changes nobody. The version is the slot's."""
    with store.reading() as tx:
        place = tx.slots.get(ref)
    if place.machine_id is None:
        return planner.plan_edit(inventory := store.inventory(), inventory, None), place.slot.version
    plan, _ = plan_machine(store, planner, str(place.machine_id), fields, now=now, roles=roles)
    return plan, place.slot.version


def plan_cluster(store: Store, planner: EditPlanner, ref: str, fields: Fields) -> tuple[EditPlan, int]:
    """What these fields of a cluster would change for its machines. Raises NotFound, InvalidValue."""
    with store.reading() as tx:
        cluster = tx.clusters.get(ref)
    inventory = store.inventory()
    after = {**inventory.clusters, cluster.name: clusters.with_fields(cluster, fields)}
    plan = planner.plan_edit(inventory, inventory.with_clusters(after.values(), inventory.seq), None)
    return plan, cluster.version


def change_machine(
    store: Store,
    planner: EditPlanner,
    ref: str,
    fields: Fields,
    *,
    plan: str = "",
    actor: str,
    now: int,
    expect_version: int | None = None,
    roles: frozenset[str] | None = None,
) -> Machine:
    """``enrol.change_machine``, once parameters were looked at. ``plan``: the hash of what was seen.

    Raises besides PlanNeeded, StaleEdit (it is another plan by now), Refused (a machine would not validate).
    """
    if "params" in fields:
        found, version = plan_machine(store, planner, ref, fields, now=now, roles=roles)
        _admit(found, plan)
        expect_version = version if expect_version is None else expect_version
    return enrol.change_machine(
        store, ref, fields, actor=actor, now=now, expect_version=expect_version, roles=roles
    )


def change_slot(
    store: Store,
    planner: EditPlanner,
    ref: str,
    fields: Fields,
    *,
    plan: str = "",
    actor: str,
    now: int,
    expect_version: int | None = None,
    roles: frozenset[str] | None = None,
) -> Place:
    """``slots.change_slot``, as ``change_machine`` is ``enrol``'s."""
    if "params" in fields:
        found, version = plan_slot(store, planner, ref, fields, now=now, roles=roles)
        _admit(found, plan)
        expect_version = version if expect_version is None else expect_version
    return slots.change_slot(store, ref, fields, actor=actor, now=now, expect_version=expect_version, roles=roles)


def change_cluster(
    store: Store,
    planner: EditPlanner,
    ref: str,
    fields: Fields,
    *,
    plan: str = "",
    actor: str,
    now: int,
    expect_version: int | None = None,
) -> Cluster:
    """``clusters.put_cluster`` of one that is listed, as ``change_machine`` is ``enrol``'s."""
    found, version = plan_cluster(store, planner, ref, fields)
    _admit(found, plan)
    expect_version = version if expect_version is None else expect_version
    return clusters.put_cluster(store, ref, fields, actor=actor, now=now, expect_version=expect_version)


def _admit(plan: EditPlan, seen: str) -> None:
    if plan.problems:
        raise Refused(
            f"it would not validate any more: {'; '.join(plan.problems[:_SHOWN])}", "correct the parameters"
        )
    if seen and seen != plan.hash:
        raise StaleEdit(f"the plan of this edit is {plan.hash} by now, not {seen}", "look at it again")
    if plan.needs_hash and not seen:
        changed = [f"{c.name} ({'installed' if c.installed else c.state})" for c in plan.machines]
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise PlanNeeded(
            f"this changes what {', '.join(changed[:_SHOWN])}{more} would be told",
            f"look at the differences (`--diff`; API: POST …/plan), then repeat it with the plan {plan.hash}",
        )
