"""What a person chose at a machine's console, carried out by the rules for everybody else.

The menu permits nothing by itself: its pass, the machine's place and identity, what the operator allows there and
the password are looked at when the choice arrives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from provisioner.actions import live
from provisioner.actions.arm import arm
from provisioner.actions.deliver import boot_script
from provisioner.actions.front import Front
from provisioner.actions.offered import menu_of
from provisioner.actions.refusals import refuse
from provisioner.domain.admission import at_its_place
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.identity import contradiction
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress, Machine
from provisioner.domain.menu import Menu, Offer, boot_pass, pass_holds

ACTOR = "console"
_PURPOSE = "menu"


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice that may be made, if the password is right."""

    machine: Machine
    mac: Mac
    offer: Offer
    menu: Menu


def menu_pass(front: Front, machine: Machine, now: int) -> str:
    """For the URLs of the menu that this machine is shown now."""
    return boot_pass(front.token_key, _PURPOSE, machine.id, now)


def looked_at(front: Front, given: str, role: str, query: Mapping[str, str], source: IPAddress, now: int) -> Choice:
    """The choice, if it comes from a menu of ours, from the machine itself, and is allowed there.

    Raises NotAdmitted (told to the timeline), InvalidValue for a MAC that is none.
    """
    if not query.get("mac"):
        raise InvalidValue("mac", "", "is missing from the query", "choose in the menu")
    mac = Mac.parse(query["mac"])
    machine = front.by_mac(mac)
    if machine is None:
        refuse(front, None, f"{mac} chose {role[:63]!r} from a menu, and is not listed", source, now)
    if not pass_holds(front.token_key, given, _PURPOSE, machine.id, now):
        refuse(front, machine, "a choice came that no menu of ours, or too old a one, was shown for", source, now)
    if refused := at_its_place(machine, source, front.neighbour(source)).refusal:
        refuse(front, machine, f"a choice at the console: {refused}", source, now)
    others = front.snapshot.inventory.machines.values()
    if why := contradiction(machine, others, query.get("uuid", ""), query.get("serial", "")):
        refuse(front, machine, f"a choice at the console: {why}", source, now)
    shown = menu_of(front, machine, source)
    offer = next((each for each in shown.offers if each.role == role), None) if shown else None
    if shown is None or offer is None or offer.fault:
        refuse(front, machine, f"chose {role[:63]!r}, which is not on its menu now", source, now)
    return Choice(machine, mac, offer, shown.menu)


def wrong_password(front: Front, choice: Choice, source: IPAddress, now: int) -> None:
    """Told to the timeline; the password is not."""
    _tell(front, choice, f"chose {choice.offer.role} at the console with a wrong password; refused", source, now)


def carried_out(
    front: Front, choice: Choice, query: Mapping[str, str], source: IPAddress, server: str, now: int
) -> bytes:
    """The boot script that the choice leads to. Raises Refused with why it cannot be done; nothing changed then."""
    machine, role = choice.machine, choice.offer.role
    if choice.offer.in_memory:
        script = live.script_of(front, machine, role, server, now)
        _tell(
            front, choice, f"{role} was chosen at the console: booted from memory, nothing installed", source, now
        )
        return script
    armed = arm(
        front.store,
        front.compiler,
        front.token_key,
        str(machine.id),
        actor=ACTOR,
        now=now,
        hours=front.arm_hours,
        role=role,
    )
    front.note(armed)
    _tell(front, choice, f"{role} was chosen at the console", source, now)
    answer = boot_script(front, query, source, server, now)
    if answer.script is None:
        raise Refused(f"it was armed, and does not install: {answer.plan.reason}", "see the machine's timeline")
    return answer.script


def _tell(front: Front, choice: Choice, said: str, source: IPAddress, now: int) -> None:
    machine = choice.machine
    event = Event(Kind.MENU_CHOICE, said, now, machine.id, choice.mac, actor=ACTOR, data={"source": str(source)})
    with front.store.transaction(ACTOR) as tx:
        tx.events.add(event)
