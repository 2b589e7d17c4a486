"""The identity gate: what counts as another board, and what firmware may say without harm."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from provisioner.domain.identity import contradiction
from provisioner.domain.machine import Machine, Slot

UUID_1, UUID_2 = UUID("4c4c4544-0051-3510-8052-b4c04f4a4631"), UUID("4c4c4544-0051-3510-8052-b4c04f4a4632")


def machine(name: str, uuid: UUID | None, serial: str = "") -> Machine:
    return Machine(uuid4(), Slot(uuid4(), name), uuid=uuid, serial=serial)


ONE, TWO = machine("node-1", UUID_1, "SN-1"), machine("node-2", UUID_2, "SN-2")


@pytest.mark.parametrize(
    ("uuid", "serial"),
    [
        (str(UUID_1), "SN-1"),
        (str(UUID_1).upper(), "SN-9"),
        (str(UUID(bytes=UUID_1.bytes_le)), ""),
        ("", "sn-1"),
        ("", ""),
        ("garbage", "Default string"),
        ("03000200-0400-0500-0006-000700080009", "To be filled by O.E.M."),
        ("00000000-0000-0000-0000-000000000000", "SN-1"),
        # One odd value alone: the BMC and SMBIOS often disagree.
        ("4c4c4544-0051-3510-8052-b4c04f4a4697", ""),
        ("", "SN-9"),
        ("4c4c4544-0051-3510-8052-b4c04f4a4698", "0123456789"),
    ],
)
def test_what_speaks_for_a_machine_or_says_nothing_stops_nothing(uuid: str, serial: str) -> None:
    assert contradiction(ONE, [ONE, TWO], uuid, serial) == ""


def test_anothers_identity_is_a_swap_that_names_both() -> None:
    assert "node-1" in (why := contradiction(ONE, [ONE, TWO], str(UUID_2), "")) and "node-2" in why
    assert "serial SN-2 of node-2" in contradiction(ONE, [ONE, TWO], "", "SN-2")


def test_what_several_machines_are_listed_with_identifies_none_of_them() -> None:
    """A vendor burns one UUID or serial into a whole delivery; BMCs told it of some, the rest were typed in."""
    shared = UUID("12345678-1234-1234-1234-123456789abc")
    fleet = [machine(f"node-{n}", shared, "CHASSIS-1") for n in range(3, 6)]
    typed_in = machine("node-6", None)
    assert contradiction(typed_in, [ONE, *fleet, typed_in], str(shared), "CHASSIS-1") == ""
    assert contradiction(fleet[0], fleet, str(shared), "CHASSIS-1") == ""
    # Nor does a chassis' serial vouch for a blade that says the UUID of its neighbour.
    left, right = replace(ONE, serial="CHASSIS-1"), replace(TWO, serial="CHASSIS-1")
    assert "UUID" in contradiction(left, [left, right], str(UUID_2), "CHASSIS-1")
    assert contradiction(left, [left, right], str(UUID_1), "CHASSIS-1") == ""
    # The one of two that is only one's still counts.
    assert "serial SN-1 of node-1" in contradiction(typed_in, [ONE, *fleet, typed_in], str(shared), "SN-1")


def test_a_board_that_differs_in_both_is_another_one() -> None:
    said = contradiction(ONE, [ONE, TWO], "4c4c4544-0051-3510-8052-b4c04f4a4699", "SN-9")
    assert "another board?" in said
    assert "SN-1" in said


def test_placeholders_in_the_inventory_belong_to_nobody() -> None:
    junk = UUID("03000200-0400-0500-0006-000700080009")
    fleet = [replace(ONE, uuid=junk, serial="Default string"), replace(TWO, uuid=junk, serial="Default string")]
    assert contradiction(fleet[0], fleet, str(junk), "Default string") == ""
