"""What a machine that boots from the network gets, and why. One decision for DHCP, boot script and simulate."""

from enum import StrEnum
from typing import NamedTuple

from provisioner.domain.firmware import Firmware
from provisioner.domain.lifecycle import UNREPORTED, exhausted, overdue, presumed_installed, used_up
from provisioner.domain.machine import Machine, OnFailure, State
from provisioner.domain.subnet import Subnet, UnknownPolicy


class Action(StrEnum):
    """What the boot leads to."""

    INSTALL = "install"
    DISK = "disk"
    DISCOVER = "discover"
    RESCUE = "rescue"
    POWER_OFF = "power-off"
    EXPLAIN = "explain"
    """A screen that says why; nothing secret on it."""
    ADDRESS_ONLY = "address-only"
    NOTHING = "nothing"


RESCUE = "rescue"
"""The in-memory role for failed machines whose own role says ``on_failure: rescue``."""


class BootPlan(NamedTuple):
    """The answer and its reason, in words for the timeline."""

    action: Action
    reason: str


_SETTLED = {
    state: BootPlan(Action.DISK, f"{state}: boots its own disk")
    for state in (State.READY, State.INSTALLED, State.ACTIVE)
}
"""What most machines of a house get, most of the time."""


def plan_boot(machine: Machine | None, subnet: Subnet | None, now: int) -> BootPlan:  # noqa: PLR0911 - a table
    """Decide a netboot from the state table of the design. ``now``: UTC microseconds."""
    if machine is None:
        return _plan_unknown(subnet)
    if not machine.live and (settled := _SETTLED.get(machine.state)) is not None:
        return settled
    install = machine.install
    match machine.state:
        case State.RETIRED:
            return BootPlan(Action.NOTHING, "retired; restore it to serve it again")
        case State.QUARANTINED:
            return BootPlan(Action.EXPLAIN, machine.state_reason)
        case State.NEW:
            return _plan_unknown(subnet, listed=True) if machine.approved else _plan_waiting(machine)
        case State.ARMED | State.INSTALLING if install is not None:
            if presumed_installed(machine):
                return BootPlan(Action.DISK, f"{UNREPORTED}: boots its own disk")
            if (late := overdue(machine, now)) is not None:
                return (
                    _plan_failed(late) if late.state is State.FAILED else BootPlan(Action.DISK, late.state_reason)
                )
            if exhausted(install):
                return _plan_failed(machine, used_up(install))
            used = f"{install.attempts} of {install.max_attempts} attempts used"
            return BootPlan(Action.INSTALL, f"{machine.state} for role {install.role}, {used}")
        case State.READY | State.INSTALLED | State.ACTIVE | State.FAILED if machine.live:
            return BootPlan(Action.RESCUE, f"an operator asked: boots {machine.live} from memory, once")
        case State.FAILED:
            return _plan_failed(machine)
        case _:
            return BootPlan(Action.DISK, f"{machine.state}: boots its own disk")


def installs_by_itself(machine: Machine, subnet: Subnet | None, role_says: bool) -> bool:
    """Is being switched on enough to install it? Once per slot, and never what was installed before."""
    if machine.state is not State.READY or machine.install is not None or machine.slot.armed_itself:
        return False
    return role_says or (subnet is not None and subnet.arm == "on-discovery")


def _plan_unknown(subnet: Subnet | None, *, listed: bool = False) -> BootPlan:
    who = "listed without role or address" if listed else "unknown MAC"
    if subnet is None:
        return BootPlan(Action.NOTHING, f"{who}, and no subnet is configured here; `provisioner subnet add`")
    match subnet.unknown:
        case UnknownPolicy.IGNORE:
            return BootPlan(Action.NOTHING, f"{who}; subnet {subnet.prefix} ignores such machines")
        case UnknownPolicy.ADDRESS:
            return BootPlan(Action.ADDRESS_ONLY, f"{who}; subnet {subnet.prefix} gives an address only")
        case UnknownPolicy.ENROL | UnknownPolicy.APPROVE:
            return BootPlan(Action.DISCOVER, f"{who}; subnet {subnet.prefix} discovers hardware")


def _plan_waiting(machine: Machine) -> BootPlan:
    fix = f"`provisioner machine approve {machine.name}` takes it in"
    return BootPlan(Action.DISCOVER, f"listed as {machine.name}, waits for approval; {fix}")


def _plan_failed(machine: Machine, why: str = "") -> BootPlan:
    reason = why or f"failed: {machine.state_reason}"
    match machine.install.on_failure if machine.install else OnFailure.DISK:
        case OnFailure.RESCUE:
            return BootPlan(Action.RESCUE, reason)
        case OnFailure.POWER_OFF:
            return BootPlan(Action.POWER_OFF, reason)
        case OnFailure.DISK:
            return BootPlan(Action.DISK, reason)


LOADERS: dict[Firmware, str] = {
    Firmware.BIOS: "undionly.kpxe",
    Firmware.UEFI_X64: "snponly.efi",
    Firmware.UEFI_ARM64: "bootnetaa64.efi",
}
"""The first program for each firmware, collected at set-up from Debian's packages: iPXE; for ARM64, where Debian
has no iPXE, shim, which starts GRUB."""
SHIM = "shimx64.efi"
"""The first program of the Secure Boot chain on x86-64: shim, Debian's signed GRUB, a signed kernel."""
TFTP_ONLY = frozenset({SHIM, "bootnetaa64.efi"})
"""Debian's signed GRUB, which these start, has no HTTP in it."""
_REMEDIES = {
    "bootnetaa64.efi": "install Debian's debian-installer-12-netboot-arm64 and run `make setup`",
    SHIM: "install Debian's shim-signed and grub-efi-amd64-signed and run `make setup`",
}


LOADER_LABEL = "loader"
"""A machine's label that names another first program than its firmware's, like ``pxelinux.0`` or SHIM."""


def loader_for(firmware: Firmware, available: frozenset[str], wanted: str = "") -> tuple[str | None, str]:
    """The loader's file name and the reason, or None and what to do about it.

    ``wanted``: the machine's own choice (LOADER_LABEL); empty: by its firmware.
    """
    if wanted:
        if wanted in available:
            return wanted, f"boot file {wanted} because its label {LOADER_LABEL!r} says so"
        remedy = _REMEDIES.get(wanted, "correct the label")
        return None, f"loader {wanted}, which its label {LOADER_LABEL!r} names, is not there; {remedy}"
    name = LOADERS.get(firmware)
    if name is None:
        return None, (
            f"no loader exists here for {firmware} firmware; put one into the loaders folder and name it by the "
            f"machine's label {LOADER_LABEL!r}, or set the machine to BIOS or UEFI x86-64"
        )
    if name not in available:
        return None, f"loader {name} is not there; {_REMEDIES.get(name, 'run `make setup` to collect it')}"
    return name, f"boot file {name} because its firmware is {firmware}"


def by_grub(machine: Machine) -> bool:
    """Does GRUB, not iPXE, carry this machine's netboot? Then ``boot.grub`` is its boot script."""
    name = machine.labels.get(LOADER_LABEL, "")
    return name == SHIM or name.startswith(("grub", "bootnetaa64")) or machine.firmware == Firmware.UEFI_ARM64
