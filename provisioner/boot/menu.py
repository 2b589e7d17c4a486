"""The boot menu: an iPXE script for a person at the machine's console.

Pure text, as ``script``. Descriptions and reasons are data: what iPXE would interpret in them is replaced
(``screen_text``), and ``--`` ends the options of ``item`` and ``menu`` before any of it. The choice goes to the
server, which decides; the menu itself permits nothing.
"""

import textwrap
from collections.abc import Sequence

from provisioner.boot.quoting import screen_text
from provisioner.domain.mac import Mac
from provisioner.domain.menu import Menu, Offer
from provisioner.domain.tokens import MENU_PASS, SERVER

PAST = "past"
"""``menu=past`` in the query of /boot.ipxe: the menu was seen, and what is assigned is wanted."""
_ASSIGNED = "_assigned"
"""No role's name: those have no underscore."""
_WIDTH = 72


def menu_script(machine: str, mac: Mac, assigned: str, menu: Menu, offers: Sequence[Offer]) -> str:
    """The menu. ``assigned``: what the machine does without a choice, in words."""
    identity = f"mac={mac.hexhyp}&uuid=${{uuid}}&serial=${{serial:uristring}}"
    live = [offer for offer in offers if offer.in_memory and not offer.fault]
    install = [offer for offer in offers if not offer.in_memory and not offer.fault]
    faulty = [offer for offer in offers if offer.fault]
    # The wrong password is not taken back into the next form; iPXE asks with what is set.
    ask = ("set username console", "clear password ||", "login || goto menu") if menu.password_hash else ()
    who = "${username:uristring}:${password:uristring}@" if menu.password_hash else ""
    return _lines(
        "#!ipxe",
        ":menu",
        f"menu -- Provisioner: {_shown(machine)}",
        _gap(f"Without a choice, after {menu.seconds} seconds:"),
        f"item -- {_ASSIGNED} {_shown(assigned)}",
        *([_gap("From memory; nothing is installed:")] if live else []),
        *map(_item, live),
        *([_gap("Installs: what is on the disk is replaced, by the rules of the role:")] if install else []),
        *map(_item, install),
        *(_gap(f"{offer.role}: cannot be chosen: {offer.fault}") for offer in faulty),
        f"choose --default {_ASSIGNED} --timeout {menu.seconds * 1000} choice || goto assigned",
        f"iseq ${{choice}} {_ASSIGNED} && goto assigned ||",
        *ask,
        f"chain http://{who}{SERVER}/menu/{MENU_PASS}/${{choice}}?{identity} || goto refused",
        ":refused",
        "echo Provisioner: the choice was not taken; the timeline of the machine says why",
        "sleep 10",
        "goto menu",
        ":assigned",
        f"chain http://{SERVER}/boot.ipxe?{identity}&menu={PAST} || goto failed",
        ":failed",
        "echo Provisioner: the boot script did not come; the firmware goes on in 10 seconds",
        "sleep 10",
        "exit 1",
    )


def again_script(reason: str, mac: Mac) -> str:
    """Why a choice was not carried out, and the menu once more."""
    said = textwrap.wrap(screen_text(reason), 64, break_on_hyphens=False)
    return _lines(
        "#!ipxe",
        *(f"echo Provisioner: {line}" for line in said),
        "sleep 10",
        f"chain http://{SERVER}/boot.ipxe?mac={mac.hexhyp}&uuid=${{uuid}}&serial=${{serial:uristring}} || exit 1",
    )


def _item(offer: Offer) -> str:
    # A role's name is lower-case letters, digits and hyphens.
    return f"item -- {offer.role} {_shown(f'{offer.role}: {offer.description}')}"


def _gap(text: str) -> str:
    return f"item --gap -- {_shown(text)}"


def _shown(text: str) -> str:
    return textwrap.shorten(screen_text(text), _WIDTH, placeholder=" ...")


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
