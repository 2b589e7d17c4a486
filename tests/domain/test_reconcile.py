"""Vendor list, BMCs and DHCP: each disagreement is named with both sides and a fix, agreement is silent."""

import pytest

from provisioner.domain.mac import Mac
from provisioner.domain.reconcile import Account, Finding, one_digit_off, reconcile


def mac(number: int) -> Mac:
    return Mac.from_wire((0x5254_0000_0000 | number * 0x1111).to_bytes(6, "big"))


def row(number: int, *, told: int | None = None, name: str = "") -> Account:
    return Account(name or f"n{number}", (mac(number if told is None else told),), f"10.9.0.{number}")


FLEET = [row(n) for n in range(1, 8)]


def found(*args: object) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.kind, finding.machines) for finding in reconcile(*args)]  # type: ignore[arg-type]


def test_agreement_is_silent() -> None:
    assert reconcile(FLEET, FLEET, {mac(1)}) == []
    assert reconcile([Account("n1", (mac(1), mac(20)))], [Account("x", (mac(20), mac(1)), "10.9.0.1")]) == []


def test_two_boards_that_changed_places_are_one_finding() -> None:
    told = [row(1), row(2, told=3), row(3, told=2), *FLEET[3:]]
    (finding,) = reconcile(FLEET, told)
    assert (finding.kind, finding.machines) == ("swap", ("n2", "n3"))
    assert finding.listed == "n2 behind BMC 10.9.0.2, n3 behind BMC 10.9.0.3"
    assert str(mac(3)) in finding.found
    assert "exchange the BMC addresses of n2 and n3" in finding.fix


@pytest.mark.parametrize("wrong", ["52:54:00:00:11:12", "52:54:00:00:11:01", "52:54:00:00:01:11"])
def test_a_digit_off_is_a_typo_with_the_right_mac(wrong: str) -> None:
    listed = [Account("n1", (Mac.parse(wrong),), "10.9.0.1"), *FLEET[1:]]
    assert reconcile(listed, FLEET) == [
        Finding(
            "typo",
            ("n1",),
            f"MAC {wrong}",
            "BMC 10.9.0.1 tells 52:54:00:00:11:11",
            "write 52:54:00:00:11:11 for n1 in the list",
        )
    ]
    # DHCP alone shows it as well, and the stranger is then explained.
    assert found([Account("n1", (Mac.parse(wrong),))], [], {mac(1)}) == [("typo", ("n1",))]


def test_another_board_is_no_typo() -> None:
    assert found(FLEET, [row(1, told=0x999), *FLEET[1:]]) == [("differs", ("n1",))]


def test_missing_and_extra_are_named() -> None:
    assert found(FLEET, FLEET[1:]) == [("missing", ("n1",))]
    assert found(FLEET, FLEET[1:], {mac(1)}) == []  # its BMC is silent, but it booted
    assert found(FLEET[1:], FLEET) == [("extra", ("n1",))]
    (stranger,) = reconcile(FLEET, FLEET, {mac(0x500)})
    assert (stranger.kind, stranger.found) == ("extra", f"DHCP saw {mac(0x500)}")


def test_what_is_listed_twice_names_both_rows() -> None:
    again = Account("copy", (mac(1),), "10.9.0.2")
    kinds = [f for f in reconcile([*FLEET, again], FLEET) if f.kind == "duplicate"]
    assert [(f.machines, f.listed) for f in kinds] == [
        (("n1", "copy"), f"MAC {mac(1)} is listed for n1 and copy"),
        (("n2", "copy"), "BMC 10.9.0.2 is listed for n2 and copy"),
    ]


def test_neighbouring_digits_exchanged_are_one_slip() -> None:
    assert one_digit_off(Mac.parse("52:54:00:00:12:34"), Mac.parse("52:54:00:00:21:34"))
    assert not one_digit_off(Mac.parse("52:54:00:00:12:34"), Mac.parse("52:54:00:00:21:43"))
    assert not one_digit_off(mac(1), mac(1))
