"""Handing a machine its boot script and its compiled files: who gets what, and what counts as an attempt."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from provisioner.actions import live
from provisioner.actions.discover import armed_by_power_on
from provisioner.actions.front import Front
from provisioner.actions.happening import Happening, What
from provisioner.actions.offered import Shown, menu_of
from provisioner.actions.refusals import refuse
from provisioner.domain.admission import Admission, at_its_place, may_read_install
from provisioner.domain.boot import Action, BootPlan, plan_boot
from provisioner.domain.errors import IllegalTransition, InvalidValue, NotFound, StoreUnavailable
from provisioner.domain.events import Event, Kind
from provisioner.domain.identity import contradiction
from provisioner.domain.lifecycle import UNREPORTED, overdue, presumed_installed, spent
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Install, IPAddress, Machine, Phase
from provisioner.domain.tokens import fill, install_token, join_token, machine_token, token_hash

BOOT_SCRIPT = "boot.ipxe"
BEGINNINGS = frozenset(("install.sh", "preseed.cfg", "user-data", "talos.yaml"))
"""What an installer begins with, in one format or another: handing it out is the attempt."""
GRUB_CONFIG = "boot.grub"
"""The same for machines that GRUB starts; TFTP hands it out."""
FIRST_CONFIGS = ("pxe.yml", "pxe.ign")
"""What a live system that GRUB started asks for by its address: its boot is counted then."""


@dataclass(frozen=True, slots=True)
class BootAnswer:
    """``script`` is there when something was compiled for the machine; ``shown`` when a person is asked first;
    every other plan is rendered by the caller."""

    plan: BootPlan
    machine: Machine | None
    script: bytes | None = None
    shown: Shown | None = None


def boot_script(
    front: Front, query: Mapping[str, str], source: IPAddress, server: str, now: int, *, ask: bool = False
) -> BootAnswer:
    """Answer ``/boot.ipxe``. ``query``: mac, and uuid, serial, arch as the machine states them. ``ask``: show its
    menu, if it has one.

    Raises InvalidValue for a MAC that is none, NotAdmitted when an install is asked for from elsewhere.
    """
    asker = _asker(front, query, source, now)
    if ask and (shown := menu_of(front, asker.machine, source)) is not None and asker.machine is not None:
        offered = ", ".join(offer.role for offer in shown.offers)
        how = f"a menu of {offered}, and without a choice {asker.plan.action}"
        _observe(front, asker, BOOT_SCRIPT, how, query, source, now)
        return BootAnswer(asker.plan, asker.machine, shown=shown)
    return _begin(front, asker, BOOT_SCRIPT, query, source, server, now)


def first_config(
    front: Front, part: str, query: Mapping[str, str], source: IPAddress, server: str, now: int
) -> bytes:
    """Answer ``/boot/pxe.yml`` and ``/boot/pxe.ign``, as ``boot_script`` does for iPXE.

    Raises NotAdmitted besides when no install is due, NotFound for other names.
    """
    if part not in FIRST_CONFIGS:
        raise NotFound("file", part, f"a live system asks here for {' or '.join(FIRST_CONFIGS)}")
    answer = _begin(front, _asker(front, query, source, now), part, query, source, server, now)
    if answer.script is None:
        refuse(front, answer.machine, f"asked for {part}, but {answer.plan.reason}", source, now)
    return answer.script


@dataclass(frozen=True, slots=True)
class _Asker:
    mac: Mac
    machine: Machine | None
    plan: BootPlan


def _asker(front: Front, query: Mapping[str, str], source: IPAddress, now: int) -> _Asker:
    """Who boots, after what time and switching it on did to it, and what that leads to."""
    if not query.get("mac"):
        raise InvalidValue("mac", "", "is missing from the query", "ask for /boot.ipxe?mac=52:54:00:12:34:56")
    mac = Mac.parse(query["mac"])
    machine = front.by_mac(mac)
    if (
        machine is not None
        and machine.install is not None
        and (overdue(machine, now) or _sent_away(front, machine, source))
    ):
        # plan_boot sees the lapse as well: an answer does not hang on its being written.
        with suppress(StoreUnavailable, IllegalTransition):
            machine, _ = front.keep(Happening(What.LAPSE, machine.id, machine.install.id, now))
    if machine is not None and machine.install is not None and _booted_again(front, machine, source):
        with suppress(StoreUnavailable, IllegalTransition):
            done = Happening(What.COMPLETE, machine.id, machine.install.id, now, message=UNREPORTED)
            machine, _ = front.keep(done)
    if machine is not None:
        machine = armed_by_power_on(front, machine, source, now)
    return _Asker(mac, machine, plan_boot(machine, front.snapshot.inventory.subnet_of(source), now))


def _begin(
    front: Front, asker: _Asker, part: str, query: Mapping[str, str], source: IPAddress, server: str, now: int
) -> BootAnswer:
    """A boot: what it leads to, and, when it installs, that it is counted before ``part`` is handed out."""
    machine, plan = asker.machine, asker.plan
    if machine is not None and machine.install is not None and plan.action is Action.INSTALL:
        _admit(front, machine, part, at_its_place(machine, source, front.neighbour(source)), source, now)
        machine = _identified(front, machine, machine.install, query, now)
        plan = plan_boot(machine, front.snapshot.inventory.subnet_of(source), now)
    script = None
    if machine is not None and machine.install is not None and plan.action is Action.INSTALL:
        # Without a count of boots the next install.sh would pass for a retry: nothing written, nothing served.
        machine, _ = front.keep(Happening(What.BOOT_SCRIPT, machine.id, machine.install.id, now))
        script = _filled(front, machine, part, server)
    elif machine is not None and plan.action is Action.RESCUE and part == BOOT_SCRIPT:
        _admit(front, machine, part, at_its_place(machine, source, front.neighbour(source)), source, now)
        machine, script, plan = live.begun(front, machine, plan, server, now)
    _observe(front, replace(asker, machine=machine, plan=plan), part, str(plan.action), query, source, now)
    return BootAnswer(plan, machine, script)


def _observe(
    front: Front, asker: _Asker, part: str, gets: str, query: Mapping[str, str], source: IPAddress, now: int
) -> None:
    what = "boot script" if part == BOOT_SCRIPT else part
    front.observe(
        Event(
            Kind.SCRIPT_SERVED,
            f"asked for its {what}; gets {gets} because {asker.plan.reason}",
            now,
            machine_id=asker.machine.id if asker.machine else None,
            mac=asker.mac,
            phase=Phase.LOADER if part == BOOT_SCRIPT else Phase.CONFIG,
            actor="machine",
            data={"source": str(source), **{k: query[k][:64] for k in ("uuid", "serial", "arch") if query.get(k)}},
        )
    )


def _identified(front: Front, machine: Machine, install: Install, query: Mapping[str, str], now: int) -> Machine:
    """Quarantined if the board that asks is not this machine; nothing of the install has left us yet."""
    others = front.snapshot.inventory.machines.values()
    why = contradiction(machine, others, query.get("uuid", ""), query.get("serial", ""))
    if not why:
        return machine
    return front.keep(Happening(What.CONTRADICTED, machine.id, install.id, now, message=why))[0]


def waits(token: str, part: str) -> bool:
    """Does ``file_by_token`` wait for the database, or for a template?"""
    return part in BEGINNINGS or live.is_token(token)


def file_by_token(front: Front, token: str, part: str, source: IPAddress, server: str, now: int) -> bytes:
    """A compiled file. Raises NotAdmitted (told to the timeline), NotFound for a part that the role has not."""
    if live.is_token(token):
        return live.file(front, token, part, source, server, now)
    machine = front.by_token(token_hash(token))
    if machine is None or machine.install is None or machine.install.token_hash != token_hash(token):
        refuse(front, None, f"asked for {part} with a token that no open install has", source, now)
    return _file(front, machine, part, source, server, now)


def file_by_address(front: Front, role: str, part: str, source: IPAddress, server: str, now: int) -> bytes:
    """As ``file_by_token`` for Yoo-Installer's URLs, which know the machine by where it asks from.

    ``role`` may be empty (the URL has none); otherwise it must be the install's.
    """
    machine = known_by_address(front, source, part, now)
    if role and machine.install is not None and machine.install.role != role:
        why = f"asked for {part} of role {role}, but it is to become {machine.install.role}"
        refuse(front, machine, why, source, now)
    return _file(front, machine, part, source, server, now)


def known_by_address(front: Front, source: IPAddress, part: str, now: int) -> Machine:
    """The machine that the source address is reserved for. Raises NotAdmitted."""
    machine = front.by_ip(source)
    if machine is None:
        refuse(front, None, f"asked for {part} from {source}, which is reserved for no machine", source, now)
    return machine


def _file(front: Front, machine: Machine, part: str, source: IPAddress, server: str, now: int) -> bytes:
    neighbour = front.neighbour(source)
    _admit(front, machine, part, may_read_install(machine, source, neighbour, now), source, now)
    if machine.install is None or part not in machine.install.files or part in (BOOT_SCRIPT, GRUB_CONFIG):
        raise NotFound("file", part, f"the role of {machine.name} has no such part")
    if part in BEGINNINGS:

        def still_admitted(stored: Machine) -> None:
            _admit(front, stored, part, may_read_install(stored, source, neighbour, now), source, now)

        machine, _ = front.keep(Happening(What.INSTALL_SCRIPT, machine.id, machine.install.id, now), still_admitted)
    data = _filled(front, machine, part, server)
    front.observe(
        Event(
            Kind.FILE_SERVED,
            f"read {part} ({len(data)} bytes)",
            now,
            machine_id=machine.id,
            phase=Phase.CONFIG,
            actor="machine",
            data={"source": str(source)},
        )
    )
    return data


def _admit(front: Front, machine: Machine, part: str, admission: Admission, source: IPAddress, now: int) -> None:
    if not admission:
        refuse(front, machine, f"{part}: {admission.refusal}", source, now)


def _filled(front: Front, machine: Machine, part: str, server: str) -> bytes:
    install = machine.install
    if install is None or part not in install.files:
        raise NotFound("file", part, f"what was compiled for {machine.name} lacks it; arm it again")
    return fill(
        install.files[part],
        install_token=install_token(front.token_key, install.id),
        machine_token=machine_token(front.token_key, install.id),
        server=server,
        join_token=join_token(front.token_key, install.id),
        cluster_keys=front.cluster_keys,
    )


def _sent_away(front: Front, machine: Machine, source: IPAddress) -> bool:
    """Is this the boot after the last attempt? Only the machine itself can say so: that attempt may be running."""
    return spent(machine) and bool(at_its_place(machine, source, front.neighbour(source)))


def _booted_again(front: Front, machine: Machine, source: IPAddress) -> bool:
    """Is this the boot after an install that nobody reports? Only the machine itself can say so."""
    return presumed_installed(machine) and bool(at_its_place(machine, source, front.neighbour(source)))
