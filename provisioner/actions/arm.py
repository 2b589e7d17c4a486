"""Arm, and the other transitions that an operator asks for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from provisioner.actions import reconcile
from provisioner.actions.enrol import differences, record_state, state_event
from provisioner.domain import lifecycle
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import Install, Machine, OnFailure, State
from provisioner.domain.ports import CompiledInstall, Compiler, Store, Transaction
from provisioner.domain.records import RoleRevision
from provisioner.domain.tokens import install_token, machine_token, token_hash

MOST_HOURS = 8760
"""A year: who arms a machine for longer means something else."""
HOUR = 3600 * lifecycle.SECOND


def arm(
    store: Store,
    compiler: Compiler,
    token_key: bytes,
    ref: str,
    *,
    actor: str,
    now: int,
    hours: float = 24.0,
    wipe: bool = False,
    retries: int = 0,
    by_itself: bool = False,
    role: str = "",
) -> Machine:
    """Compile and freeze everything this machine will be told; its next netboot installs.

    ``wipe`` allows foreign data on the disk to be lost, for this install only; ``retries`` lets the watchdog switch
    its power so many times if it hangs before the installer runs; ``by_itself``: nobody asked, it was switched on
    (see ``discover``); ``role``: its slot's from now on. Raises Refused (nothing to compile from, invalid role,
    contradicted by the vendor list), IllegalTransition, NotFound.
    """
    prepared = prepare(
        store,
        compiler,
        token_key,
        ref,
        actor=actor,
        now=now,
        hours=hours,
        wipe=wipe,
        retries=retries,
        by_itself=by_itself,
        role=role,
    )
    with store.transaction(actor) as tx:
        (stored,) = freeze(tx, [prepared], now)
    return stored


@dataclass(frozen=True, slots=True)
class Prepared:
    """An arming that is compiled, and written nowhere yet."""

    before: Machine
    armed: Machine
    compiled: CompiledInstall


def prepare(
    store: Store,
    compiler: Compiler,
    token_key: bytes,
    ref: str,
    *,
    actor: str,
    now: int,
    hours: float = 24.0,
    wipe: bool = False,
    retries: int = 0,
    by_itself: bool = False,
    role: str = "",
) -> Prepared:
    """Look at the machine and compile; what ``arm`` does before it writes. Raises as that does."""
    if not 0 < hours <= MOST_HOURS:  # NaN neither
        raise InvalidValue(
            "hours", f"{hours:g}", "is no time to wait", f"give more than 0 and at most {MOST_HOURS}"
        )
    with store.transaction(actor) as tx:
        machine = tx.machines.get(ref)
        reconcile.check(tx, machine)
    install_id = uuid4()
    slot = replace(
        machine.slot, role=role or machine.slot.role, armed_itself=machine.slot.armed_itself or by_itself
    )
    install = Install(
        id=install_id,
        role=slot.role,
        revision="",
        token_hash=token_hash(install_token(token_key, install_id)),
        machine_token_hash=token_hash(machine_token(token_key, install_id)),
        armed_at=now,
        deadline=now + int(hours * HOUR),
        wipe=wipe,
        power_cycles=retries,
    )
    armed = lifecycle.armed(replace(machine, slot=slot), install, now)
    compiled = compiler.compile(armed, store.around(armed))
    frozen = replace(
        install,
        revision=compiled.revision,
        files=compiled.files,
        on_failure=OnFailure(compiled.on_failure),
        max_attempts=compiled.max_attempts,
        wipe=compiled.wipe,
    )
    return Prepared(machine, replace(armed, install=frozen), compiled)


def freeze(tx: Transaction, prepared: Sequence[Prepared], now: int) -> list[Machine]:
    """Within a transaction: all of these are armed, or none. Raises Refused."""
    for each in prepared:
        # Compiling takes a while; what it was made from, and what allowed it, must still hold.
        there = tx.machines.get(str(each.before.id))
        if _basis(there) != _basis(each.before):
            raise Refused(
                f"machine {there.name} was changed while it was being armed, and is {there.state} now",
                "look at it, then arm it again if that is still wanted",
            )
        reconcile.check(tx, there)
        made = each.compiled
        tx.put_role_revision(RoleRevision(made.role, made.revision, made.role_files, now))
    armed = list(tx.machines.put_many([each.armed for each in prepared]))
    for each, stored in zip(prepared, armed, strict=True):
        tx.events.add(*_told(each, stored, now, tx.actor))
    return armed


def _told(prepared: Prepared, stored: Machine, now: int, actor: str) -> Iterator[Event]:
    if changed := differences(prepared.before, stored):
        message = f"changed {stored.name}: {', '.join(changed)}"
        yield Event(Kind.MACHINE_CHANGED, message, now, stored.id, stored.boot_mac, actor=actor)
    yield state_event(prepared.before, stored, now, actor)
    for warning in prepared.compiled.warnings:
        yield Event(Kind.MACHINE_CHANGED, f"warning: {warning}", now, stored.id, actor=actor)


def _basis(machine: Machine) -> tuple[object, ...]:
    """What arming rests on. States and attempts move without an edit: somebody disarms, a board is quarantined, the
    install that was armed before begins."""
    install = machine.install
    return machine.version, machine.state, install and (install.id, install.attempts)


def disarm(store: Store, ref: str, *, actor: str, now: int) -> Machine:
    """Void an armed install."""
    return _transition(store, ref, lifecycle.disarmed, actor, now)


def release(store: Store, ref: str, *, actor: str, now: int) -> Machine:
    """Give a machine back; its tokens die, its disk is left alone."""
    return _transition(store, ref, lifecycle.released, actor, now)


def retire(store: Store, ref: str, *, actor: str, now: int) -> Machine:
    """Take a machine out of service."""
    return _transition(store, ref, lifecycle.retired, actor, now)


def restore(store: Store, ref: str, *, actor: str, now: int) -> Machine:
    """Take a retired machine back into service."""
    return _transition(store, ref, lifecycle.restored, actor, now)


def accept(store: Store, ref: str, *, actor: str, now: int) -> Machine:
    """Say that a quarantined machine's identity is right."""
    return _transition(store, ref, lifecycle.accepted, actor, now)


def expire(store: Store, ids: Iterable[UUID], *, now: int) -> list[Machine]:
    """Move those of these machines that are past their deadline or have stalled; the watchdog calls it."""
    late = []
    with store.transaction("watchdog") as tx:
        for machine in (tx.machines.find(str(machine_id)) for machine_id in ids):
            after = lifecycle.overdue(machine, now) if machine else None
            if machine and after:
                tx.machines.put_progress(after)
                record_state(tx, machine, after, now)
                late.append(after)
    return late


def stand_down(store: Store, *, actor: str, now: int) -> list[Machine]:
    """After a restore nothing may install: what was armed then may have been installed since."""
    why = "the database was restored from a backup; arm it again if it is to be installed"
    changed = []
    with store.transaction(actor) as tx:
        for machine in tx.machines.list():
            if machine.state is State.ARMED:
                changed.append(_stepped(tx, machine, lifecycle.disarmed, now))
            elif machine.state is State.INSTALLING:
                phase = machine.install.phase if machine.install else None
                after = tx.machines.put(lifecycle.failed(machine, phase, why, now))
                record_state(tx, machine, after, now)
                changed.append(after)
    return changed


def _transition(store: Store, ref: str, step: Callable[[Machine, int], Machine], actor: str, now: int) -> Machine:
    with store.transaction(actor) as tx:
        return _stepped(tx, tx.machines.get(ref), step, now)


def _stepped(tx: Transaction, machine: Machine, step: Callable[[Machine, int], Machine], now: int) -> Machine:
    after = step(machine, now)
    stored = tx.machines.put(after)
    record_state(tx, machine, stored, now)
    return stored
