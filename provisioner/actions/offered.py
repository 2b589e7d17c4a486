"""Which menu a machine's console shows: what the operator allows there, as the roles describe themselves."""

from dataclasses import dataclass

from provisioner.actions.front import Front
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.machine import IPAddress, Machine
from provisioner.domain.menu import Menu, Offer, menu_for


@dataclass(frozen=True, slots=True)
class Shown:
    """A menu and what is on it."""

    menu: Menu
    offers: tuple[Offer, ...]


def menu_of(front: Front, machine: Machine | None, source: IPAddress) -> Shown | None:
    """None: no menu. While the database is away there is none: nothing could be armed by it."""
    if machine is None:
        return None
    menu = menu_for(machine, front.snapshot.inventory.subnet_of(source))
    if menu is None:
        return None
    try:
        return Shown(menu, tuple(front.compiler.offer(role) for role in menu.roles))
    except (Refused, StoreUnavailable):
        return None
