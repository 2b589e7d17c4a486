"""What a machine would be told if it powered on now: the same code as arming, with nothing stored."""

import hashlib
from collections.abc import Mapping
from typing import Any

from provisioner.boot.grub import config_for
from provisioner.boot.menu import menu_script
from provisioner.boot.script import script_for
from provisioner.domain.boot import RESCUE, Action, BootPlan, by_grub, installs_by_itself, plan_boot
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.lifecycle import SILENT
from provisioner.domain.machine import Machine, State
from provisioner.domain.menu import menu_for
from provisioner.domain.ports import Compiler
from provisioner.domain.subnet import Subnet
from provisioner.domain.tokens import MACHINE_TOKEN


def simulate(compiler: Compiler, inventory: Inventory, machine: Machine | None, now: int) -> dict[str, Any]:
    """Plain data, ready for JSON; tokens and the appliance's address are shown as placeholders.

    ``machine`` None: a MAC that is in no inventory. ``install`` is what was frozen at arming while that is
    what a boot gets, else what arming would freeze now (``if_armed``), or the reason why it can't. ``live``: the
    files of a boot from memory. ``menu``: what a person at the console is asked first.
    """
    subnet = _subnet(machine, inventory)
    result = _told(compiler, inventory, machine, subnet, now)
    return result | (_menu(compiler, machine, subnet, result) if machine else {})


def _told(
    compiler: Compiler, inventory: Inventory, machine: Machine | None, subnet: Subnet | None, now: int
) -> dict[str, Any]:
    plan = plan_boot(machine, subnet, now)
    result: dict[str, Any] = {
        "ends": _end(plan.action, machine),
        "machine": machine.name if machine else None,
        "state": machine.state.value if machine else None,
        "action": plan.action.value,
        "reason": plan.reason,
        "boot_script": "",
        "install": None,
        "if_armed": None,
        "live": None,
        "menu": None,
    }
    part, write = ("boot.grub", config_for) if machine and by_grub(machine) else ("boot.ipxe", script_for)
    if plan.action is Action.INSTALL and machine and machine.install:
        script = write(plan, machine.install.files.get(part, b""))
        result["install"] = _described(machine.install.files, machine.install.role, machine.install.revision)
        return result | {"boot_script": script.decode()}
    result["boot_script"] = write(plan).decode()
    if machine is not None and plan.action is Action.RESCUE and part == "boot.ipxe":
        result |= _live(compiler, machine, inventory, plan)
    if machine is not None:
        result["if_armed"] = preview = _preview(compiler, machine, inventory)
        if installs_by_itself(machine, subnet, compiler.arms_itself(machine.slot.role)):
            result |= _first_power_on(preview, part)
    return result


def _live(compiler: Compiler, machine: Machine, inventory: Inventory, plan: BootPlan) -> Mapping[str, Any]:
    """What differs for a boot from memory."""
    role = machine.live or RESCUE
    try:
        files = compiler.live(role, machine, inventory)
    except Refused as refusal:
        reason = f"{plan.reason}; role {role} cannot be booted: {refusal}"
        return {"reason": reason, "boot_script": script_for(BootPlan(Action.EXPLAIN, reason)).decode()}
    return {"boot_script": files["boot.ipxe"].decode(), "live": _described(files, role, "")}


def _menu(compiler: Compiler, machine: Machine, subnet: Subnet | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """The menu that a person sees first; ``boot_script`` stays what comes without a choice."""
    menu = menu_for(machine, subnet)
    if menu is None or machine.boot_mac is None:
        return {}
    offers = [compiler.offer(role) for role in menu.roles]
    assigned = f"{result['action']}: {result['reason']}"
    return {
        "menu": {
            "roles": [offer.role for offer in offers if not offer.fault],
            "seconds": menu.seconds,
            "password": bool(menu.password_hash),
            "script": menu_script(machine.name, machine.boot_mac, assigned, menu, offers),
        }
    }


def _first_power_on(preview: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What differs for a machine that is armed by being switched on."""
    if "refused" in preview:
        return {"reason": f"should install on its first power-on, but cannot be armed: {preview['refused']}"}
    texts = {file["name"]: file["text"] for file in preview["files"]}
    return {
        "action": Action.INSTALL.value,
        "reason": "this is its first power-on: it is armed by it, once per slot",
        "boot_script": texts.get(part, ""),
        "install": preview,
        "if_armed": None,
        "ends": _end_of({name: text.encode() for name, text in texts.items()}, State.ARMED),
    }


def _end(action: Action, machine: Machine | None) -> str:
    """The state that this boot ends in, if everything goes well."""
    if machine is None:
        return "listed as new, waiting for an operator" if action is Action.DISCOVER else "not listed"
    if action is not Action.INSTALL or machine.install is None:
        return machine.state.value
    return _end_of(machine.install.files, machine.state)


def _end_of(files: Mapping[str, bytes], state: State) -> str:
    if _reported(files):
        return State.ACTIVE.value
    return State.INSTALLED.value if not SILENT.isdisjoint(files) else state.value


def _reported(files: Mapping[str, bytes]) -> bool:
    """Does the installed system say by itself that it runs?"""
    return any(MACHINE_TOKEN.encode() in data for data in files.values())


def _preview(compiler: Compiler, machine: Machine, inventory: Inventory) -> dict[str, Any]:
    try:
        compiled = compiler.compile(machine, inventory)
    except Refused as refusal:
        return {"refused": refusal.problem, "remedy": refusal.remedy}
    return _described(compiled.files, compiled.role, compiled.revision) | {"warnings": list(compiled.warnings)}


def _described(files: Mapping[str, bytes], role: str, revision: str) -> dict[str, Any]:
    script = files["boot.ipxe"].decode()
    kernel = next((line for line in script.splitlines() if line.startswith("kernel ")), "")
    return {
        "role": role,
        "revision": revision,
        # "kernel URL LINE || goto retry"
        "kernel_line": kernel.partition(" || ")[0].split(" ", 2)[-1],
        "files": [
            {
                "name": name,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "text": data.decode(errors="replace"),
            }
            for name, data in sorted(files.items())
        ],
    }


def _subnet(machine: Machine | None, inventory: Inventory) -> Subnet | None:
    """The machine's subnet; for a stranger the only one there is, since the wire it would ask on is not known."""
    if machine is not None and machine.ip is not None:
        return inventory.subnet_of(machine.ip)
    return inventory.subnets[0] if len(inventory.subnets) == 1 else None
