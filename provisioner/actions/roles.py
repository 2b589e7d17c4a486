"""Another revision of a role put in force: looked at first, named by its plan's hash, kept, taken back."""

from provisioner.domain.errors import Refused, StaleEdit
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import RolePlanner, Store
from provisioner.domain.records import RoleActivation, RoleRevision
from provisioner.domain.role_plan import RolePlan


def plan(store: Store, planner: RolePlanner, role: str, revision: str = "") -> RolePlan:
    """What activating ``revision`` (empty: what the folder holds) would change. Changes nothing."""
    return planner.plan(role, store.inventory(), revision)


def activate(
    store: Store, planner: RolePlanner, role: str, plan_hash: str, *, revision: str = "", actor: str, now: int
) -> RolePlan:
    """From now on machines are armed with this revision; those that are armed or installed stay as they are.

    ``plan_hash`` says what was looked at. Raises StaleEdit when the plan is another by now, Refused when the
    revision cannot be compiled for every machine that has the role.
    """
    found = planner.plan(role, store.inventory(), revision)
    if found.hash != plan_hash:
        raise StaleEdit(
            f"the plan of role {role} is {found.hash} by now, not {plan_hash}: the role, a machine or the "
            "active revision changed",
            f"look at it again: `provisioner role diff {role}`",
        )
    if found.problems:
        shown = "; ".join(found.problems[:3])
        more = f" and {len(found.problems) - 3} more" if len(found.problems) > 3 else ""
        raise Refused(
            f"revision {found.revision[:12]} of role {role} does not validate for {shown}{more}",
            "correct the role, or those machines' parameters",
        )
    with store.transaction(actor) as tx:
        tx.put_role_revision(RoleRevision(role, found.revision, found.files, now))
        tx.put_role_activation(RoleActivation(role, found.revision, now, actor))
        changed = sum(machine.changes for machine in found.machines)
        tx.events.add(
            Event(
                Kind.ROLE_CHANGED,
                f"role {role}: revision {found.revision[:12]} is active; its output differs for {changed} of "
                f"{len(found.machines)} machines",
                now,
                actor=actor,
                data={"role": role, "revision": found.revision, "base": found.base, "plan": found.hash},
            )
        )
    return found


def follow(store: Store, planner: RolePlanner, role: str, *, actor: str, now: int) -> RolePlan:
    """Take the folder as it stands again, at once and after every edit of it (a folder that git manages).

    Raises Refused when it cannot be compiled for every machine that has the role.
    """
    found = planner.plan(role, store.inventory())
    if found.problems:
        raise Refused(
            f"what the folder of role {role} holds does not validate for {found.problems[0]}",
            f"correct it and check with `provisioner role diff {role}`",
        )
    with store.transaction(actor) as tx:
        tx.remove_role_activation(role)
        tx.events.add(
            Event(
                Kind.ROLE_CHANGED,
                f"role {role} follows its folder again, now at revision {found.revision[:12]}",
                now,
                actor=actor,
                data={"role": role, "revision": found.revision},
            )
        )
    return found
