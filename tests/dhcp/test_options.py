"""Options whose values have more than one form in the wild."""

import pytest

from provisioner.dhcp.options import read_architectures, read_suboptions, read_user_classes


@pytest.mark.rule("dhcp-34")
@pytest.mark.parametrize(
    ("value", "classes"),
    [
        (b"iPXE", (b"iPXE",)),
        (b"\x04iPXE", (b"iPXE",)),
        (b"\x03lab\x04iPXE", (b"lab", b"iPXE")),
        (b"", ()),
        (b"\x00", (b"\x00",)),
        (b"\x09iPXE", (b"\x09iPXE",)),
    ],
)
def test_user_class_raw_or_as_rfc_3004(value: bytes, classes: tuple[bytes, ...]) -> None:
    assert read_user_classes(value) == classes


@pytest.mark.rule("dhcp-26")
@pytest.mark.parametrize(
    ("value", "numbers"), [(b"\0\7", (7,)), (b"\0\x10\0\7", (16, 7)), (b"", ()), (b"\0", ()), (b"\0\7\0", (7,))]
)
def test_architectures_are_a_list(value: bytes, numbers: tuple[int, ...]) -> None:
    assert read_architectures(value) == numbers


@pytest.mark.rule("dhcp-30")
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"\x06\x01\x08\xff", {6: b"\x08"}),
        (b"\0\0\x06\x01\x08", {6: b"\x08"}),
        (b"\x06\xff\x08", {}),
        (b"\x06", {}),
        (b"\x06\x00" * 120, {6: b""}),
        (b"\x06\x01\x08\xff\x07\x01\x01", {6: b"\x08"}),
    ],
)
def test_malformed_suboptions_end_the_reading(value: bytes, found: dict[int, bytes]) -> None:
    assert read_suboptions(value) == found
