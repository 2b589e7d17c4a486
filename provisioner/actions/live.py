"""In-memory systems: booted for a look, while nothing is installed and no state changes.

An operator asks for one (once), a failed machine's role may call for ``rescue`` at each boot, a person at the
console may choose one. What they read is compiled when it is asked for; the token in its URLs is a pass that
names role and machine and dies by itself.
"""

from collections.abc import Mapping
from dataclasses import replace

from provisioner.actions.front import Front
from provisioner.actions.happening import What
from provisioner.actions.refusals import refuse
from provisioner.domain.admission import at_its_place
from provisioner.domain.boot import RESCUE, Action, BootPlan
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import live_asked
from provisioner.domain.machine import Address, IPAddress, Machine
from provisioner.domain.menu import boot_pass, pass_holds
from provisioner.domain.ports import Compiler, Store
from provisioner.domain.tokens import fill

_SCRIPT = "boot.ipxe"
_TOKEN = "live."  # noqa: S105 - how such a token begins; an install's has no dot


def ask(store: Store, compiler: Compiler, ref: str, role: str = RESCUE, *, actor: str, now: int) -> Machine:
    """The machine's next boot is this in-memory role, once; ``role`` empty takes the wish back.

    Raises NotFound, IllegalTransition, Refused (no such role, it installs, its image or an address is missing).
    """
    with store.reading() as tx:
        found = live_asked(tx.machines.get(ref), role)
    if role:
        compiler.live(role, found, store.around(found))
    with store.transaction(actor) as tx:
        before = tx.machines.get(str(found.id))
        after = live_asked(before, role)
        if after == before:
            return before
        tx.machines.put_progress(after)
        what = f"its next boot is {role}, once, from memory" if role else "its next boot is as it is planned"
        tx.events.add(Event(Kind.MACHINE_CHANGED, f"asked for: {what}", now, after.id, after.boot_mac, actor=actor))
        return after


def begun(
    front: Front, machine: Machine, plan: BootPlan, server: str, now: int
) -> tuple[Machine, bytes | None, BootPlan]:
    """The boot script of the live system that is due, and the wish for it as fulfilled.

    None with a plan that says why, where it cannot be compiled. Raises StoreUnavailable: nothing written, nothing
    served.
    """
    role = machine.live or RESCUE
    try:
        script = script_of(front, machine, role, server, now)
    except Refused as refusal:
        return machine, None, BootPlan(Action.EXPLAIN, f"{plan.reason}; role {role} cannot be booted: {refusal}")
    if machine.live:
        with front.store.transaction("machine") as tx:
            machine = replace(tx.machines.get(str(machine.id)), live="")
            tx.machines.put_progress(machine)
            said = f"boots {role} from memory, as it was asked to, once"
            tx.events.add(Event(Kind.MACHINE_CHANGED, said, now, machine.id, machine.boot_mac, actor="machine"))
        front.note(machine)
    return machine, script, plan


def script_of(front: Front, machine: Machine, role: str, server: str, now: int) -> bytes:
    """The boot script of an in-memory role, with a token for its further files. Raises Refused."""
    token = f"{_TOKEN}{role}.{boot_pass(front.token_key, _purpose(role), machine.id, now)}"
    return _filled(front.compiler.live(role, machine, front.snapshot.inventory), _SCRIPT, token, server)


def is_token(token: str) -> bool:
    return token.startswith(_TOKEN)


def file(front: Front, token: str, part: str, source: IPAddress, server: str, now: int) -> bytes:
    """A further file of a live system. Raises NotAdmitted (told to the timeline), NotFound, Refused."""
    role, machine = _admitted(front, token, part, source, now)
    files = front.compiler.live(role, machine, front.snapshot.inventory)
    if part == _SCRIPT or part not in files:
        raise NotFound("file", part, f"role {role} has no such part")
    data = _filled(files, part, token, server)
    said = f"read {part} of {role} ({len(data)} bytes)"
    front.observe(Event(Kind.FILE_SERVED, said, now, machine.id, actor="machine", data={"source": str(source)}))
    return data


def report(front: Front, token: str, what: What, message: str, text: str, source: IPAddress, now: int) -> bool:
    """What a live system says: kept in the timeline, its log too; nothing else changes.

    Raises NotAdmitted (told to the timeline), StoreUnavailable.
    """
    role, machine = _admitted(front, token, str(what), source, now)
    kind, data = Kind.REPORT_PROGRESS, {}
    said = f"{role} from memory: {message or what}"
    if what is What.LOG:
        kind, data = Kind.REPORT_LOG, {"text": text}
        said = f"{role} from memory uploaded what it found ({len(text.encode())} bytes)"
    with front.store.transaction("machine") as tx:
        tx.events.add(Event(kind, said, now, machine.id, machine.boot_mac, actor="machine", data=data))
    return True


def as_seen(machine: Machine, source: IPAddress) -> Machine:
    """A newcomer has no address of its own yet; for a look the one that it was lent will do."""
    return machine if machine.ip is not None else replace(machine, addresses=(Address(machine.id, source),))


def _admitted(front: Front, token: str, what: str, source: IPAddress, now: int) -> tuple[str, Machine]:
    """The role of a live system's token, and the machine that asks. Raises NotAdmitted."""
    role, _, given = token.removeprefix(_TOKEN).partition(".")
    neighbour = front.neighbour(source)
    machine = front.by_ip(source) or (front.by_mac(neighbour) if neighbour else None)
    if machine is None:
        refuse(front, None, f"asked for {what} of a live system from {source}, which is nobody's", source, now)
    if not pass_holds(front.token_key, given, _purpose(role), machine.id, now):
        refuse(front, machine, f"asked for {what} with a live system's token that is not its own", source, now)
    seen = as_seen(machine, source)
    if refused := at_its_place(seen, source, neighbour).refusal:
        refuse(front, machine, f"{what}: {refused}", source, now)
    return role, seen


def _filled(files: Mapping[str, bytes], part: str, token: str, server: str) -> bytes:
    return fill(files[part], install_token=token, machine_token="", server=server)


def _purpose(role: str) -> str:
    return f"live {role}"
