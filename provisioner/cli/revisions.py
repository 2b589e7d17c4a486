"""``provisioner role diff|activate|revisions|compare|follow``: what a role's edit changes, and which one counts."""

import difflib
from collections.abc import Sequence
from typing import Annotated

import typer

from provisioner.actions import roles
from provisioner.boot.roles import Role
from provisioner.cli import session
from provisioner.domain.role_plan import MachineChange, RolePlan

Name = Annotated[str, typer.Argument(help="Role.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
To = Annotated[
    str,
    typer.Option("--to", metavar="REVISION", help="A kept revision or its number; default: what the folder holds."),
]


def diff(
    name: Name,
    to: To = "",
    summary: Annotated[bool, typer.Option("--summary", help="Names of files only.")] = False,
    json: Json = False,
) -> None:
    """Show which machines' files a revision changes, and how; prints the plan's hash. Changes nothing."""
    with session.house() as house:
        plan = roles.plan(house.store, house.planner, name, to)
        numbers = _numbers(house.effective_roles.kept(name))
    if json:
        session.show_json(_data(plan))
    else:
        _show(plan, numbers, summary=summary)
    if plan.problems:
        raise typer.Exit(1)


def activate(
    name: Name,
    plan: Annotated[str, typer.Option("--plan", metavar="HASH", help="Hash that `role diff` printed.")],
    to: To = "",
) -> None:
    """Arm machines with this revision from now on, whatever the folder holds; an older one: roll back."""
    with session.house() as house:
        done = roles.activate(
            house.store, house.planner, name, plan, revision=to, actor=session.actor(), now=session.now()
        )
    session.say(f"role {name}: revision {done.revision[:12]} is active")
    drifted = sum(machine.installed and machine.changes for machine in done.machines)
    if drifted:
        session.say(f"{drifted} installed machines keep what they have until they are installed again")


def follow(name: Name) -> None:
    """Use the role's folder as it stands again, at once and after each edit (a folder that git manages)."""
    with session.house() as house:
        done = roles.follow(house.store, house.planner, name, actor=session.actor(), now=session.now())
    session.say(f"role {name} follows its folder, now at revision {done.revision[:12]}")


def revisions(name: Name, json: Json = False) -> None:
    """List the revisions that machines were armed with or that were activated, oldest first."""
    with session.house() as house:
        kept = house.effective_roles.kept(name)
        in_force, draft = house.effective_roles.get(name).revision, house.roles.get(name).revision
        machines = house.store.inventory().machines.values()
    rows = [
        {
            "number": number,
            "revision": revision,
            "first_used": session.moment(at),
            "machines": sum(bool(m.install and m.install.revision == revision) for m in machines),
            "is": ", ".join(
                word for word, there in (("active", revision == in_force), ("folder", revision == draft)) if there
            ),
        }
        for number, (revision, at) in enumerate(kept, start=1)
    ]
    if json:
        session.show_json(rows)
        return
    session.show_table(("number", "revision", "first_used", "machines", "is"), rows, "none was used yet")
    if draft not in {revision for revision, _ in kept}:
        session.say(f"the folder holds {draft[:12]}, which was not used yet; `provisioner role diff {name}`")


def compare(
    name: Name,
    one: Annotated[str, typer.Argument(metavar="REVISION", help="Kept revision or its number.")],
    other: Annotated[str, typer.Argument(metavar="[REVISION]", help="Default: what the folder holds.")] = "",
) -> None:
    """Show how the files of a role differ between two revisions."""
    with session.house() as house:
        left = house.effective_roles.find(name, one)
        right = house.effective_roles.find(name, other) if other else house.roles.get(name)
    lines = [
        line for file in sorted(left.files.keys() | right.files.keys()) for line in _file_diff(left, right, file)
    ]
    session.say("\n".join(lines) or "no difference")


def _file_diff(left: Role, right: Role, file: str) -> list[str]:
    old, new = (role.files.get(file, b"").decode(errors="replace").splitlines() for role in (left, right))
    names = (f"{file} {left.revision[:12]}", f"{file} {right.revision[:12]}")
    return list(difflib.unified_diff(old, new, *names, lineterm=""))


def _numbers(kept: Sequence[tuple[str, int]]) -> dict[str, int]:
    return {revision: number for number, (revision, _) in enumerate(kept, start=1)}


def _show(plan: RolePlan, numbers: dict[str, int], *, summary: bool) -> None:
    to = _spoken(plan.revision, numbers)
    for machine in plan.machines:
        session.say(f"{machine.name}: {_verdict(machine, numbers, to)}")
        if machine.note:
            session.say(f"    {machine.note}")
        for file in machine.files:
            session.say(f"    {file.name}")
            if not summary:
                session.say("".join(f"        {line}\n" for line in file.diff.splitlines()).rstrip("\n"))
    for problem in plan.problems:
        session.warn(f"not valid: {problem}")
    changed = sum(machine.changes for machine in plan.machines)
    session.say(f"role {plan.role}, {to}: {changed} of {len(plan.machines)} machines change")
    if not plan.problems:
        session.say(f"plan {plan.hash}; `role activate {plan.role} --plan {plan.hash}` puts it in force")


def _verdict(machine: MachineChange, numbers: dict[str, int], to: str) -> str:
    if machine.problem:
        return "does not validate"
    since = _spoken(machine.since, numbers)
    how = f"installed with {since}" if machine.installed else f"{machine.state}, {since}"
    return f"{how}, role now at {to}: {len(machine.files) or 'no'} files differ"


def _spoken(revision: str, numbers: dict[str, int]) -> str:
    number = numbers.get(revision)
    return f"revision {number} ({revision[:12]})" if number else f"revision {revision[:12]}, not used yet"


def _data(plan: RolePlan) -> dict[str, object]:
    return {
        "role": plan.role,
        "base": plan.base,
        "revision": plan.revision,
        "hash": plan.hash,
        "valid": not plan.problems,
        "machines": [
            {
                "name": machine.name,
                "state": machine.state,
                "since": machine.since,
                "installed": machine.installed,
                "files": {file.name: file.diff for file in machine.files},
                "problem": machine.problem,
                "note": machine.note,
            }
            for machine in plan.machines
        ],
    }
