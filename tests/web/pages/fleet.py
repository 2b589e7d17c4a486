"""A fleet on a night of work: machines in every state, with the phases and sentences that led there."""

import random
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID, uuid4

from provisioner.domain.events import Event, Kind
from provisioner.domain.mac import Mac
from provisioner.domain.machine import (
    PHASES,
    Address,
    Install,
    Interface,
    Machine,
    Phase,
    Slot,
    State,
)
from provisioner.domain.ports import Store
from provisioner.domain.records import PhaseRecord

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

USUAL = dict(zip(PHASES, (14, 9, 22, 31, 2, 4, 190, 45, 6, 150, 0), strict=True))
"""Seconds that each phase takes here."""

SENTENCES = {
    Phase.FIRMWARE: (Kind.DHCP_OFFER, "asked for an address; offered {ip}, "
                     "boot file snponly.efi because its firmware is uefi-x64"),
    Phase.LOADER: (Kind.TFTP_READ, "read snponly.efi, 174 kB in 0.2 s"),
    Phase.KERNEL: (Kind.IMAGE_READ, "reads flatcar/lab/flatcar_production_pxe.vmlinuz"),
    Phase.CONFIG: (Kind.FILE_SERVED, "asked for install.sh; handed out, attempt 1 of 3"),
    Phase.CLOCK: (Kind.REPORT_PROGRESS, "clock set, it was 3 s behind"),
    Phase.DISK: (Kind.REPORT_PROGRESS, "chose /dev/sda, 480 GB, because its role takes the smallest SSD"),
    Phase.IMAGE: (Kind.REPORT_PROGRESS, "writing the image to /dev/sda"),
    Phase.PAYLOAD: (Kind.REPORT_PROGRESS, "fetched kubelet-1.29.tar, sha256 agrees"),
    Phase.WRITTEN: (Kind.REPORT_PROGRESS, "static network written: {ip}/16"),
    Phase.REBOOT: (Kind.REPORT_COMPLETE, "install complete; reboots"),
    Phase.ACTIVE: (Kind.REPORT_ACTIVE, "the installed system reported in from {ip}"),
}  # fmt: skip


def bare(name: str, number: int = 1, state: State = State.READY, **fields: object) -> Machine:
    """A listed machine without an install."""
    mac = Mac(bytes.fromhex("525400") + number.to_bytes(3, "big"))
    ip = ip_address(f"10.12.{1 + number // 250}.{1 + number % 250}")
    slot = Slot(uuid4(), name, rack=f"r{1 + number // 40}", unit=1 + number % 40, role="simple")
    machine = Machine(uuid4(), slot, state, (Interface(uuid4(), mac),), (Address(uuid4(), ip, mac),))
    return replace(machine, **fields)  # type: ignore[arg-type]


def installing(
    machine: Machine, phase: Phase | None, *, quiet: int, now: int, percent: int | None = None
) -> Machine:
    """On its way, last heard of ``quiet`` microseconds ago."""
    early = phase is None or PHASES.index(phase) < PHASES.index(Phase.CONFIG)
    at = now - quiet
    install = Install(
        uuid4(), "simple", "r1", uuid4().hex, at - 5 * MINUTE, now + 20 * HOUR, attempts=0 if early else 1,
        phase=phase, percent=percent, phase_at=at if phase else None,
    )  # fmt: skip
    state = State.ARMED if early else State.INSTALLING
    reason = "armed for role simple" if early else "install script handed out, attempt 1 of 3"
    return replace(
        machine, state=state, install=install, state_at=at - (0 if phase is None else 4), state_reason=reason
    )


def ended(machine: Machine, state: State, phase: Phase, reason: str, *, at: int) -> Machine:
    """Arrived, or failed."""
    outcome = "failed" if state is State.FAILED else "complete"
    install = Install(
        uuid4(),
        "simple",
        "r1",
        uuid4().hex,
        at - HOUR,
        at + HOUR,
        attempts=1,
        phase=phase,
        phase_at=at,
        outcome=outcome,
    )
    return replace(machine, state=state, install=install, state_at=at, state_reason=reason)


def night(count: int, now: int, seed: int = 7) -> Iterator[Machine]:
    """``count`` machines; the first is failed, the second stuck, the third half-way."""
    chance = random.Random(seed)
    for number in range(count):
        machine = bare(f"w{number + 1:03}", number)
        if number == 0:
            reason = (
                "in phase disk: /dev/sda holds a foreign LVM volume group “backup” and its role does not say wipe"
            )
            yield ended(machine, State.FAILED, Phase.DISK, reason, at=now - 7 * MINUTE)
        elif number == 1:
            yield installing(machine, Phase.IMAGE, quiet=17 * MINUTE, now=now, percent=61)
        elif number == 2:
            yield installing(machine, Phase.IMAGE, quiet=4 * SECOND, now=now, percent=43)
        elif number % 29 == 0:
            yield machine
        elif number % 11 == 0:
            yield installing(machine, None, quiet=2 * MINUTE, now=now)
        elif number % 5 == 0:
            phase = chance.choice(PHASES[:9])
            percent = chance.randrange(100) if phase in (Phase.IMAGE, Phase.PAYLOAD) else None
            yield installing(machine, phase, quiet=chance.randrange(60) * SECOND, now=now, percent=percent)
        elif number % 13 == 0:
            yield ended(machine, State.INSTALLED, Phase.REBOOT, "install complete", at=now - 50 * SECOND)
        else:
            at = now - chance.randrange(2, 400) * MINUTE
            yield ended(machine, State.ACTIVE, Phase.ACTIVE, "the installed system reported in", at=at)


def history(machine: Machine, seed: int = 0) -> tuple[list[PhaseRecord], list[Event]]:
    """The phases and events behind this machine's state."""
    install = machine.install
    if install is None or install.phase is None:
        return [], []
    chance = random.Random(seed)
    records: list[PhaseRecord] = []
    events: list[Event] = []
    reached = PHASES[: PHASES.index(install.phase) + 1]
    at = install.phase_at or machine.state_at
    for phase in reversed(reached):
        slow = 6 if chance.random() < 0.04 else chance.uniform(0.8, 1.2)
        records.insert(
            0, PhaseRecord(install.id, phase, at, at, install.percent if phase is install.phase else None)
        )
        kind, sentence = SENTENCES[phase]
        if machine.state is State.FAILED and phase is install.phase:
            kind, sentence = Kind.REPORT_FAILED, machine.state_reason
        told = sentence.format(ip=machine.ip)
        data = {"xid": "3a1f09c2", "ciaddr": "0.0.0.0"} if kind is Kind.DHCP_OFFER else {}
        events.insert(0, Event(kind, told, at, machine.id, machine.boot_mac, phase, "machine", data))
        at -= int(USUAL[phase] * slow * SECOND)
    return records, events


def fill(store: Store, machines: list[Machine]) -> dict[str, UUID]:
    """Store them with their history; ids by name."""
    told: list[Event] = []
    with store.transaction("test") as tx:
        for number, machine in enumerate(machines):
            tx.machines.put(machine)
            records, events = history(machine, number)
            for record in records:
                tx.machines.put_phase(record)
            told += events
        for event in sorted(told, key=lambda event: event.at):
            tx.events.add(event)
    return {machine.name: machine.id for machine in machines}


def listed(store: Store, machines: list[Machine]) -> None:
    """Store them without their history: quick, for thousands."""
    with store.transaction("test") as tx:
        tx.machines.put_many(machines)
