"""What should happen next to a machine, and what to do when it does not. Pure; ``now`` is UTC microseconds."""

from dataclasses import dataclass

from provisioner.domain.events import Sighting
from provisioner.domain.machine import PHASES, Machine, Phase, State
from provisioner.domain.progress import moving, since_life, stuck
from provisioner.domain.spoken import MINUTE, clock, span
from provisioner.domain.subnet import Subnet

POWER_ON = 5 * MINUTE
"""From arming to the first packet: a long power-on self-test. Later, somebody should look."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What should come next; if it is ``overdue``, the likely cause and the fix, commands between backticks.

    ``cause`` is empty where the state's own reason says it.
    """

    next: str
    overdue: bool = False
    cause: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What helps to find a cause: the machine's subnet and the newest MAC that nobody listed."""

    subnet: Subnet | None = None
    stranger: Sighting | None = None
    appliance: str = "the appliance"
    """Our address on the machine's wire."""


def expected(machine: Machine, around: Surroundings, now: int) -> Expected:  # noqa: PLR0911 - a table
    """The next step in words; once it is overdue, why it usually does not come and what helps."""
    name = machine.name
    match machine.state:
        case State.NEW:
            verb, lacks = ("set", "") if machine.approved else ("approve", "an operator's approval, ")
            fix = f"`provisioner machine {verb} {name} --role ROLE --ip ADDRESS`"
            return Expected(f"{lacks}a role and an address", True, fix=fix)
        case State.READY:
            return Expected("nothing; it boots its own disk until it is armed")
        case State.FAILED:
            return Expected("nothing by itself", True, fix=_after_failure(machine))
        case State.QUARANTINED:
            return Expected(
                "nothing until somebody looks",
                True,
                fix="compare the label on the machine with what is listed here, then accept or correct it",
            )
        case State.RETIRED:
            return Expected("nothing; it gets no answer until it is restored")
        case State.ACTIVE:
            return Expected("nothing; it runs from its own disk")
        case _:
            return _under_way(machine, around, now)


def _under_way(machine: Machine, around: Surroundings, now: int) -> Expected:
    install = machine.install
    if install is None or not moving(machine):
        return _waiting_for_power(machine, around, now)
    phase = install.phase or Phase.FIRMWARE
    next_step, cause, fix = _STEPS[phase]
    names = {
        "name": machine.name,
        "ip": machine.ip,
        "firmware": machine.firmware or "unknown",
        "appliance": around.appliance,
        "phase": phase,
    }
    next_step = next_step.format_map(names)
    if not stuck(machine, now):
        return Expected(next_step)
    where = f", {phase} at {install.percent} %" if install.percent is not None else ""
    return Expected(
        next_step,
        True,
        f"no sign of life for {span(since_life(machine, now))}{where}: {cause.format_map(names)}",
        fix.format_map(names),
    )


def _waiting_for_power(machine: Machine, around: Surroundings, now: int) -> Expected:
    mac = machine.boot_mac
    step = f"a DHCP request from {mac}" if mac else "a DHCP request, but no MAC is listed for it"
    waited = now - machine.state_at
    if machine.state is State.INSTALLED or waited < POWER_ON:
        return Expected(step)
    subnet = around.subnet
    where = f"VLAN {subnet.vlan}" if subnet and subnet.vlan else f"the network of {subnet.prefix}" if subnet else ""
    cause = f"armed {span(waited)} ago and not one packet: it is off, or its boot NIC is not on this wire"
    if around.stranger is not None and around.stranger.at >= machine.state_at:
        seen = around.stranger
        cause += f"; the last packet of an unlisted MAC came from {seen.mac} at {clock(seen.at)} UTC"
    power = (
        f"`provisioner machine power on {machine.name}`"
        if machine.bmc_id
        else "power it on with network boot first"
    )
    port = f"; check that its switch port is in {where}" if where else ""
    return Expected(step, True, cause, power + port)


def _after_failure(machine: Machine) -> str:
    phase = machine.install.phase if machine.install else None
    if phase is Phase.DISK:
        return "if its disk may be wiped, arm it again with “Wipe” ticked; else name another disk in its role"
    if phase is not None and PHASES.index(phase) <= PHASES.index(Phase.CONFIG):
        return f"`provisioner simulate {machine.name}` shows what it is told, its console how far it came"
    return "read the install log below; the live system stays up for a look at its console. Then arm it again"


_STEPS: dict[Phase, tuple[str, str, str]] = {
    Phase.FIRMWARE: (
        "it fetches its loader from {appliance}",
        "it got an address but never fetched the loader; TFTP is filtered, or the loader does not fit {firmware}",
        "allow UDP 69 and the ports above 1023 between it and {appliance}",
    ),
    Phase.LOADER: (
        "it fetches the kernel from {appliance}, port 8081",
        "the boot script ran but nobody asked for the kernel; TCP 8081 is filtered, or the image is not imported",
        "`provisioner image list` shows what is there; look at its console for iPXE’s error number",
    ),
    Phase.KERNEL: (
        "the live system starts and fetches its configuration",
        "kernel and initrd were fetched, then nothing: no driver for its NIC in the live system, "
        "too little memory, or no address from DHCP",
        "look at its console; the live system needs 3 GB of memory and finds the appliance by DHCP",
    ),
    Phase.CONFIG: (
        "install.sh starts and reports its first step",
        "it has its configuration but install.sh never reported",
        "log in at its console and read `journalctl -u setup`; TCP 80 to {appliance} must be open",
    ),
    Phase.CLOCK: (
        "it chooses the disk",
        "the clock was set, then silence",
        "log in at its console and read `journalctl -u setup`",
    ),
    Phase.DISK: (
        "it writes the image",
        "it looks at its disks for too long: one of them may be dying, or a RAID controller hides them",
        "look at its console; `lsblk` in the live system shows what it sees",
    ),
    Phase.IMAGE: (
        "it finishes the image",
        "the image stopped on its way: a slow or dying disk, or the download from {appliance}, port 8081, hangs",
        "`dmesg` at its console names a bad disk; power-cycle it for another attempt",
    ),
    Phase.PAYLOAD: (
        "it finishes the role’s offline payload",
        "a payload file does not arrive",
        "check that the file is in the payload store and TCP 8081 to {appliance} is open",
    ),
    Phase.WRITTEN: (
        "it reports that the install is complete",
        "everything is written but the report did not come",
        "power-cycle it: the next netboot is another attempt; its console shows why the report failed",
    ),
    Phase.REBOOT: (
        "the installed system phones home from {ip}",
        "it was installed but its system never reported: it may have booted something else, or has no network",
        "look at its console: does it run from its disk, with address {ip}? Its boot order may need the disk first",
    ),
    Phase.ACTIVE: ("nothing more", "", ""),
}
