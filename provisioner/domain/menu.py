"""What a person at a machine's console may choose, and the passes that bind a choice to a menu.

Off unless an operator names roles for the subnet or the slot: naming one is the permission to install it there.
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from uuid import UUID

from provisioner.domain.boot import by_grub
from provisioner.domain.machine import Machine, State
from provisioner.domain.subnet import Subnet

NONE = "none"
"""Stated of a slot: no menu here, whatever the subnet says."""
SECONDS = 10
"""How long a menu waits, unless the subnet says otherwise."""
MINUTE = 60_000_000
PASS_FOR = 30 * MINUTE
"""Somebody looks for the password; a live system fetches its config."""

_SHOWN_IN = (State.READY, State.ARMED, State.INSTALLED, State.ACTIVE, State.FAILED)
"""Not while it installs: what is under way goes on without anybody."""


@dataclass(frozen=True, slots=True)
class Menu:
    """The roles on offer, in the operator's order."""

    roles: tuple[str, ...]
    seconds: int
    password_hash: str
    """argon2; empty: none is asked for."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One role as the menu shows it."""

    role: str
    description: str
    in_memory: bool
    """Booted once, and nothing is installed; the others are armed, with what arming asks for."""
    fault: str = ""
    """Why it cannot be chosen."""


def named(text: str) -> tuple[str, ...]:
    """The roles of a menu as it is stated: names separated by ``;``."""
    return tuple(name for name in text.split(";") if name and name != NONE)


def menu_for(machine: Machine, subnet: Subnet | None) -> Menu | None:
    """The menu of this machine; None: it has none, or cannot show one (GRUB) or not now."""
    if machine.state not in _SHOWN_IN or by_grub(machine):
        return None
    roles = named(machine.slot.menu or (subnet.menu if subnet else ""))
    if not roles:
        return None
    return Menu(roles, subnet.menu_seconds if subnet else SECONDS, subnet.menu_password if subnet else "")


def boot_pass(key: bytes, purpose: str, machine_id: UUID, now: int) -> str:
    """A word for a URL that proves for PASS_FOR that we wrote it, for this machine and purpose."""
    return f"{now:x}.{_sealed(key, purpose, machine_id, now)}"


def pass_holds(key: bytes, given: str, purpose: str, machine_id: UUID, now: int) -> bool:
    """Is it a pass of ours for this, and young enough?"""
    moment, _, seal = given.partition(".")
    try:
        at = int(moment, 16)
    except ValueError:
        return False
    # Compared as bytes: the seal is whatever somebody sent.
    genuine = hmac.compare_digest(seal.encode(), _sealed(key, purpose, machine_id, at).encode())
    return genuine and at <= now <= at + PASS_FOR


def _sealed(key: bytes, purpose: str, machine_id: UUID, at: int) -> str:
    said = f"pass {purpose} {machine_id} {at}".encode()
    return urlsafe_b64encode(hmac.digest(key, said, "sha256")).rstrip(b"=").decode()
