"""What a person may do to a machine now, what it costs, and the doing of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from provisioner.actions import arm, newcomers, power
from provisioner.domain.errors import InvalidValue, Refused, StoreUnavailable
from provisioner.domain.machine import Machine, State
from provisioner.web.parts import Parts

_HOLDS = (State.INSTALLED, State.ACTIVE, State.FAILED)
_ANY = tuple(state for state in State if state is not State.RETIRED)


@dataclass(frozen=True, slots=True)
class Act:
    """A button. ``loses``: what will be lost; if there is anything, the machine's name must be typed."""

    do: str
    label: str
    states: tuple[State, ...]
    loses: str = ""
    needs_bmc: bool = False
    newcomers: bool = False
    """Only for machines that came by themselves and wait for approval."""
    wipes: bool = False
    """Offers to install over foreign data."""


_LOSES_DISK = "The next network boot installs it anew: everything on its install disk is lost."
_STOPS = "Whatever runs on it now stops at once, without a shutdown."

ACTS: tuple[Act, ...] = (
    Act("install", "Install now", (State.READY, State.ARMED, *_HOLDS),
        f"It is armed and power-cycled. {_STOPS} All on its install disk is lost.", needs_bmc=True, wipes=True),
    Act("arm", "Arm", (State.READY, *_HOLDS), _LOSES_DISK, wipes=True),
    Act("disarm", "Disarm", (State.ARMED,)),
    Act("approve", "Approve", (State.NEW,), newcomers=True),
    Act("accept", "Accept its identity", (State.QUARANTINED,)),
    Act("restore", "Restore", (State.RETIRED,)),
    Act("on", "Power on", _ANY, needs_bmc=True),
    Act("cycle", "Power-cycle", _ANY, _STOPS, needs_bmc=True),
    Act("off", "Power off", _ANY, _STOPS, needs_bmc=True),
    Act("release", "Release", (State.ARMED, State.INSTALLING, *_HOLDS),
        "Its install ends here and its installed system can no longer report. Its disk is left alone."),
    Act("retire", "Retire", (State.NEW, State.READY, State.FAILED),
        "It gets no address and no boot answer any more, until it is restored."),
)  # fmt: skip

_BY_NAME = {act.do: act for act in ACTS}


def acts_for(machine: Machine) -> tuple[Act, ...]:
    """The buttons for this machine as it is."""
    return tuple(
        act
        for act in ACTS
        if machine.state in act.states
        and (machine.bmc_id is not None or not act.needs_bmc)
        and (not machine.approved or not act.newcomers)
    )


def act_named(do: str) -> Act:
    """Raises InvalidValue."""
    if do not in _BY_NAME:
        raise InvalidValue("do", do, "is not known", f"choose one of {', '.join(_BY_NAME)}")
    return _BY_NAME[do]


def for_many(act: Act, count: int) -> Act:
    """The same act as a sentence about several machines."""
    return (
        replace(act, loses=f"Each of them: {act.loses[:1].lower()}{act.loses[1:]}")
        if act.loses and count > 1
        else act
    )


def sure(act: Act, names: Sequence[str], typed: str) -> None:
    """Raises InvalidValue when the machines' name was not typed for something that cannot be taken back."""
    if not names:
        raise InvalidValue("m", "", "names no machine", "select at least one machine")
    wanted = names[0] if len(names) == 1 else f"{len(names)} machines"
    if act.loses and typed.strip() != wanted:
        raise InvalidValue(
            "typed", typed, "is not what had to be typed", f"type {wanted!r} exactly; nothing was done"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    done: bool
    sentence: str


def perform(parts: Parts, act: Act, names: Sequence[str], *, wipe: bool, actor: str) -> list[Outcome]:
    """Do it to each machine; one refusal does not stop the others."""
    steps = _steps(parts, act.do, wipe=wipe, actor=actor)
    outcomes = []
    for name in names:
        try:
            steps(name)
        except Refused as refusal:
            outcomes.append(Outcome(name, False, str(refusal)))
        except StoreUnavailable:
            outcomes.append(Outcome(name, False, "the database cannot be reached now; nothing was done, try again"))
        else:
            outcomes.append(Outcome(name, True, f"{act.label.lower()}: accepted"))
    return outcomes


def _steps(parts: Parts, do: str, *, wipe: bool, actor: str) -> Callable[[str], object]:
    now = parts.clock()
    if do in ("on", "off", "cycle"):
        return lambda name: power.enqueue(parts.store, [name], do, actor=actor, now=now)
    if do == "install":
        return lambda name: power.enqueue_install(
            parts.store,
            parts.compiler,
            parts.token_key,
            [name],
            actor=actor,
            now=now,
            hours=parts.arm_hours,
            wipe=wipe,
        )
    if do == "arm":
        return lambda name: arm.arm(
            parts.store,
            parts.compiler,
            parts.token_key,
            name,
            actor=actor,
            now=now,
            hours=parts.arm_hours,
            wipe=wipe,
        )
    change = {
        "disarm": arm.disarm,
        "release": arm.release,
        "retire": arm.retire,
        "restore": arm.restore,
        "accept": arm.accept,
        "approve": newcomers.approve,
    }[do]
    return partial(change, parts.store, actor=actor, now=now)
