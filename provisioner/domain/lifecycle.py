"""The life of a machine: which state follows which, and why not.

Every function takes a machine and returns the machine as it is afterwards; nothing is stored here. ``now`` is
UTC microseconds. A transition that the table in ``docs/architecture.md`` does not have raises
IllegalTransition with the command that helps.
"""

from dataclasses import dataclass, replace

from provisioner.domain.errors import IllegalTransition
from provisioner.domain.machine import PHASES, Install, Machine, Phase, State

SECOND = 1_000_000
STALLED_AFTER = 30 * 60 * SECOND
SILENT = frozenset(("talos.yaml",))
"""What an installer begins with that has no hook to report from."""
UNREPORTED = "it has its configuration, and its installer reports nothing"
"""An installing machine that reports nothing for so long has failed; the longest honest phase is an image
written to a slow disk."""

_NO_SIGN_OF_LIFE = "no sign of life for 30 minutes"
_TOO_LATE = "deadline passed while installing"
_USED_UP = "attempts were used without a complete report"

ARMABLE = (State.READY, State.INSTALLED, State.ACTIVE, State.FAILED)


@dataclass(frozen=True, slots=True)
class Report:
    """What a machine says about its install. ``phase`` None: only a message."""

    kind: str
    """progress, complete, failed or active."""
    phase: Phase | None = None
    percent: int | None = None
    message: str = ""


def settled(machine: Machine, now: int) -> Machine:
    """After an edit: ``new`` becomes ``ready`` once it has a role and an address, and back."""
    if machine.state not in (State.NEW, State.READY):
        return machine
    missing = missing_for_ready(machine)
    state = State.NEW if missing else State.READY
    if state is machine.state:
        return machine
    return _moved(machine, state, f"lacks {' and '.join(missing)}" if missing else "has a role and an address", now)


def missing_for_ready(machine: Machine) -> list[str]:
    """What keeps a machine from being ready, in words."""
    return [
        what
        for what, there in (
            ("a MAC", machine.macs),
            ("a role", machine.slot.role),
            ("an address", machine.ip),
            ("an operator's approval", machine.approved),
        )
        if not there
    ]


def approved(machine: Machine, now: int) -> Machine:
    """The operator takes a machine in that came by itself."""
    if machine.approved:
        raise IllegalTransition(
            f"machine {machine.name} needs no approval",
            f"it is {machine.state} already",
        )
    taken = replace(machine, approved=True)
    if machine.state is not State.NEW:
        return taken
    missing = missing_for_ready(taken)
    if not missing:
        return _moved(taken, State.READY, "approved by the operator; has a role and an address", now)
    return _moved(taken, State.NEW, f"approved by the operator; lacks {' and '.join(missing)}", now)


def armed(machine: Machine, install: Install, now: int) -> Machine:
    """The next netboot installs. Arming an armed machine replaces what was compiled."""
    if machine.state not in (*ARMABLE, State.ARMED):
        hint = {
            State.NEW: f"it lacks {' and '.join(missing_for_ready(machine))}: `provisioner machine "
            f"{'set' if machine.approved else 'approve'} {machine.name} --role R --ip A`",
            State.INSTALLING: "an install is under way: wait, or `provisioner machine release` it first",
            State.QUARANTINED: f"its identity is in doubt ({machine.state_reason}): correct the inventory, then "
            f"`provisioner machine accept {machine.name}`",
            State.RETIRED: f"`provisioner machine restore {machine.name}` first",
        }[machine.state]
        raise IllegalTransition(f"machine {machine.name} is {machine.state} and cannot be armed", hint)
    return _moved(replace(machine, install=install), State.ARMED, f"armed for role {install.role}", now)


def disarmed(machine: Machine, now: int) -> Machine:
    """Back to ready; what was compiled is void."""
    if machine.state is not State.ARMED:
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state}, not armed", "only an armed machine can be disarmed"
        )
    return _moved(_closed(machine, "disarmed", "disarmed by the operator"), State.READY, "disarmed", now)


def boot_script_served(machine: Machine) -> Machine:
    """A boot script was handed out: the next install.sh belongs to a new boot."""
    install = machine.install
    if install is None or not install.open:
        return machine
    return replace(machine, install=replace(install, boots=install.boots + 1))


def install_script_served(machine: Machine, now: int) -> Machine:
    """install.sh is being handed out: the attempt is counted now, so that a lost callback can never loop.

    A repeated request within the same boot is a retry and counts nothing.
    """
    install = machine.install
    if install is None or machine.state not in (State.ARMED, State.INSTALLING):
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state} and gets no install script",
            f"`provisioner machine arm {machine.name}` first",
        )
    if install.attempts and install.attempt_boot == install.boots:
        return machine
    install = replace(install, attempts=install.attempts + 1, attempt_boot=install.boots, phase_at=now)
    return _moved(
        replace(machine, install=install),
        State.INSTALLING,
        f"install script handed out, attempt {install.attempts} of {install.max_attempts}",
        now,
    )


def exhausted(install: Install) -> bool:
    """No further boot may install: all attempts were handed out."""
    return install.attempts >= install.max_attempts


def spent(machine: Machine) -> bool:
    """Installing, all attempts handed out: a boot that asks for anything now is the one after the last of them."""
    install = machine.install
    return install is not None and install.open and machine.state is State.INSTALLING and exhausted(install)


def used_up(install: Install) -> str:
    """The reason of an install whose boots were all handed out."""
    return f"all {install.max_attempts} {_USED_UP}"


def given_up(machine: Machine) -> bool:
    """Has it failed by our presumption only, because nothing was heard of it?"""
    install = machine.install
    return (
        machine.state is State.FAILED
        and install is not None
        and install.outcome == "failed"
        and install.reason.endswith((_NO_SIGN_OF_LIFE, _TOO_LATE, _USED_UP))
    )


def presumed_installed(machine: Machine) -> bool:
    """Was everything handed out to an installer that reports nothing? Its next boot is from its disk."""
    install = machine.install
    return (
        install is not None
        and install.open
        and machine.state is State.INSTALLING
        and install.attempts > 0
        and not SILENT.isdisjoint(install.files)
    )


def overdue(machine: Machine, now: int) -> Machine | None:
    """The machine after its deadline or after a stall, or None while time remains."""
    install = machine.install
    if install is None or not install.open:
        return None
    if machine.state is State.ARMED and now > install.deadline:
        why = "not booted before the deadline; arm it again when it is on the network"
        return _moved(_closed(machine, "expired", why), State.READY, why, now)
    if machine.state is State.INSTALLING:
        silent_for = silence(machine, now)
        if presumed_installed(machine) and (now > install.deadline or silent_for > STALLED_AFTER):
            return _moved(_closed(machine, "complete", UNREPORTED), State.INSTALLED, UNREPORTED, now)
        if now > install.deadline:
            return failed(machine, install.phase, _TOO_LATE, now)
        if silent_for > STALLED_AFTER:
            return failed(machine, install.phase, _NO_SIGN_OF_LIFE, now)
    return None


def silence(machine: Machine, now: int) -> int:
    """Microseconds since the last sign of life of its install; 0 without one."""
    install = machine.install
    return now - (install.phase_at or install.armed_at) if install is not None else 0


def stalled(machine: Machine, now: int) -> bool:
    """Does its silence alone end its install?"""
    late = overdue(machine, now)
    return (
        late is not None
        and late.state is State.FAILED
        and late.install is not None
        and (late.install.reason == _NO_SIGN_OF_LIFE)
    )


def listened_to(machine: Machine, now: int) -> Machine:
    """Its silence counts from now on: nobody was there to hear it before."""
    if machine.install is None or not machine.install.open:
        return machine
    return replace(machine, install=replace(machine.install, phase_at=now))


def clock_set(machine: Machine, by: int, now: int) -> Machine:
    """The machine after the clock was set by so many microseconds: an open install keeps the time it had left.

    Set back, its deadline stays: it may be another appliance's, whose clock was right. What it did last it did not
    do later than now.
    """
    install = machine.install
    if install is None or not install.open:
        return machine
    ahead = max(0, by)
    seen = None if install.phase_at is None else min(install.phase_at + ahead, now)
    kept = replace(install, deadline=install.deadline + ahead, phase_at=seen)
    at = min(machine.state_at, now)
    return machine if (kept, at) == (install, machine.state_at) else replace(machine, install=kept, state_at=at)


def failed(machine: Machine, phase: Phase | None, reason: str, now: int) -> Machine:
    """The install ended badly."""
    where = f"in phase {phase}: " if phase else ""
    ended = _closed(machine, "failed", reason)
    if ended.install and phase:
        ended = replace(ended, install=replace(ended.install, phase=phase, phase_at=now))
    return _moved(ended, State.FAILED, f"{where}{reason}", now)


def after(machine: Machine, report: Report, now: int) -> Machine:
    """The machine after one of its reports. Repeated terminal reports change nothing."""
    install = machine.install
    if report.kind == "active":
        if machine.state is State.ACTIVE:
            return machine
        if (machine.state not in (State.INSTALLED, State.INSTALLING) and not given_up(machine)) or install is None:
            raise IllegalTransition(
                f"machine {machine.name} is {machine.state}; an installed system reports in",
                "a machine that was released or armed again does not become active by an old system's report",
            )
        # The installed system is proof of a complete whose callback was lost.
        machine = _closed(_at_phase(machine, Phase.ACTIVE, 100, now), "complete", install.reason)
        if install.outcome == "failed":
            proven = replace(install, outcome="complete", reason="", phase=Phase.ACTIVE, percent=100, phase_at=now)
            machine = replace(machine, install=proven)
        return _moved(machine, State.ACTIVE, "the installed system reported in", now)
    if install is not None and not install.open and report.kind == install.outcome:
        return machine
    if machine.state is not State.INSTALLING or install is None:
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state}, not installing",
            "its report is recorded as refused; arm it to install again",
        )
    if report.kind == "progress":
        return _at_phase(machine, report.phase, report.percent, now)
    if report.kind == "complete":
        machine = _at_phase(machine, Phase.REBOOT, None, now)
        return _moved(_closed(machine, "complete", report.message), State.INSTALLED, "install complete", now)
    if report.kind == "failed":
        return failed(machine, report.phase or install.phase, report.message or "no reason given", now)
    raise ValueError(report.kind)


def observed(machine: Machine, phase: Phase, now: int) -> Machine:
    """A phase seen from outside (a packet, a read): moves the install forward, never back within one boot."""
    install = machine.install
    if install is None or not install.open or machine.state not in (State.ARMED, State.INSTALLING):
        return machine
    if phase is Phase.FIRMWARE or install.phase is None or PHASES.index(phase) > PHASES.index(install.phase):
        return _at_phase(machine, phase, None, now)
    return machine


def released(machine: Machine, now: int) -> Machine:
    """Given back: no install, no machine token; what is on its disk is left alone."""
    if machine.state not in (State.INSTALLED, State.ACTIVE, State.FAILED, State.INSTALLING, State.ARMED):
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state} and holds nothing to release",
            "only armed, installing, installed, active and failed machines can be released",
        )
    ended = _revoked(_closed(machine, "released", "released by the operator"))
    return settled(_moved(ended, State.READY, "released", now), now)


def quarantined(machine: Machine, contradiction: str, now: int) -> Machine:
    """Its identity contradicts what is known; an operator must look, and what was compiled is void."""
    return _moved(_closed(machine, "quarantined", contradiction), State.QUARANTINED, contradiction, now)


def accepted(machine: Machine, now: int) -> Machine:
    """The operator says the identity is right: UUID, serial and switch port believed so far are forgotten."""
    if machine.state is not State.QUARANTINED:
        raise IllegalTransition(f"machine {machine.name} is {machine.state}, not quarantined", "nothing to accept")
    machine = replace(machine, uuid=None, serial="")
    if contradicts_port(machine, machine.boot_port):
        machine = replace(machine, slot=replace(machine.slot, switch_port=machine.boot_port))
    return settled(_moved(machine, State.NEW, "accepted by the operator", now), now)


def contradicts_port(machine: Machine, switch_port: str) -> str:
    """Why a boot from this switch port is not this machine's place, or '' (the port or the place is not known)."""
    stated = machine.slot.switch_port
    if not stated or not switch_port or stated == switch_port:
        return ""
    return (
        f"boots from switch port {switch_port}, but the place {machine.name} is wired to {stated}; move the cable, "
        f"`provisioner machine set {machine.name} --switch-port '{switch_port}'`, or accept it where it is"
    )


def retired(machine: Machine, now: int) -> Machine:
    """Out of service: it gets no answer any more."""
    if machine.state in (State.INSTALLING, State.RETIRED):
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state} and cannot be retired", "release it first"
        )
    ended = _revoked(_closed(machine, "released", "retired"))
    return _moved(ended, State.RETIRED, "retired by the operator", now)


def restored(machine: Machine, now: int) -> Machine:
    """Back in service."""
    if machine.state is not State.RETIRED:
        raise IllegalTransition(f"machine {machine.name} is {machine.state}, not retired", "nothing to restore")
    return settled(_moved(machine, State.NEW, "restored by the operator", now), now)


def live_asked(machine: Machine, role: str) -> Machine:
    """An operator wants a look: the next boot is this in-memory role, once; empty takes the wish back."""
    if machine.state not in ARMABLE:
        raise IllegalTransition(
            f"machine {machine.name} is {machine.state} and boots no {role or 'live system'} by request",
            f"only {', '.join(ARMABLE)} machines do; an install that is ahead or under way comes first",
        )
    return replace(machine, live=role)


def _moved(machine: Machine, state: State, reason: str, now: int) -> Machine:
    # A look was asked for in the state that ends here.
    return replace(machine, state=state, state_reason=reason, state_at=now, live="")


def _closed(machine: Machine, outcome: str, reason: str) -> Machine:
    if machine.install is None or not machine.install.open:
        return machine
    return replace(machine, install=replace(machine.install, outcome=outcome, reason=reason))


def _revoked(machine: Machine) -> Machine:
    """The machine token on its disk opens nothing any more."""
    install = machine.install
    return replace(machine, install=replace(install, machine_token_hash="")) if install else machine


def _at_phase(machine: Machine, phase: Phase | None, percent: int | None, now: int) -> Machine:
    if machine.install is None:
        return machine
    install = machine.install
    return replace(
        machine,
        install=replace(install, phase=phase or install.phase, percent=percent, phase_at=now),
    )
