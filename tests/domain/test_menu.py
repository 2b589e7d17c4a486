"""Which machines show a boot menu, and that a pass proves what it was written for and nothing else."""

from dataclasses import replace
from uuid import UUID

import pytest

from provisioner.domain.machine import State
from provisioner.domain.menu import PASS_FOR, boot_pass, menu_for, pass_holds
from tests.boot.rack import SUBNET, machine

OFFERING = replace(SUBNET, menu="rescue;worker", menu_seconds=7)
KEY, SOMEBODY, OTHER = b"k" * 32, UUID(int=1), UUID(int=2)


def test_there_is_no_menu_until_an_operator_names_roles() -> None:
    assert menu_for(replace(machine(1), state=State.READY), SUBNET) is None
    assert menu_for(replace(machine(1), state=State.READY), None) is None


@pytest.mark.parametrize(
    ("of_slot", "roles"),
    [("", ("rescue", "worker")), ("memtest", ("memtest",)), ("none", None)],
    ids=["subnet", "slot", "none"],
)
def test_a_slot_says_it_before_its_subnet(of_slot: str, roles: tuple[str, ...] | None) -> None:
    node = machine(1)
    menu = menu_for(replace(node, state=State.READY, slot=replace(node.slot, menu=of_slot)), OFFERING)
    assert (menu.roles if menu else None) == roles
    assert menu is None or menu.seconds == 7


@pytest.mark.parametrize("state", State)
def test_what_is_under_way_in_doubt_or_unknown_is_not_interrupted(state: State) -> None:
    shown = menu_for(replace(machine(1), state=state), OFFERING) is not None
    assert shown == (state not in (State.NEW, State.INSTALLING, State.QUARANTINED, State.RETIRED))


def test_grub_has_no_menu() -> None:
    assert menu_for(replace(machine(1, labels={"loader": "shimx64.efi"}), state=State.READY), OFFERING) is None


def test_a_pass_holds_for_its_machine_and_purpose_until_it_is_too_old() -> None:
    given = boot_pass(KEY, "menu", SOMEBODY, 1000)
    assert pass_holds(KEY, given, "menu", SOMEBODY, 1000)
    assert pass_holds(KEY, given, "menu", SOMEBODY, 1000 + PASS_FOR)
    assert not pass_holds(KEY, given, "menu", SOMEBODY, 1001 + PASS_FOR)
    assert not pass_holds(KEY, given, "menu", SOMEBODY, 999), "from the future"
    assert not pass_holds(KEY, given, "live rescue", SOMEBODY, 1000)
    assert not pass_holds(KEY, given, "menu", OTHER, 1000)
    assert not pass_holds(b"x" * 32, given, "menu", SOMEBODY, 1000)


@pytest.mark.parametrize("given", ["", ".", "x", "3e8.", "3e8.\u00e9", "3e9." + "A" * 43, "-3e8.x", "zz.x"])
def test_no_invented_pass_holds(given: str) -> None:
    assert not pass_holds(KEY, given, "menu", SOMEBODY, 1000)
