"""A UUID is read whichever way round the BMC says it."""

from uuid import UUID

import pytest

from provisioner.bmc.guid import system_uuid

PLAIN = UUID("8f2c1d3e-9a4b-4c6d-9e1f-0a2b3c7d8e9f")


@pytest.mark.parametrize("raw", [PLAIN.bytes_le, PLAIN.bytes, PLAIN.bytes[::-1]], ids=["smbios", "rfc4122", "ipmi"])
def test_each_byte_order_is_recognised(raw):
    assert system_uuid(raw) == (PLAIN, "")


@pytest.mark.parametrize("raw", [bytes(16), b"\xff" * 16, b"", b"\x01" * 7])
def test_a_blank_one_is_none_and_says_so(raw):
    assert system_uuid(raw) == (None, "system UUID is blank")


def test_where_the_order_cannot_be_told_a_note_says_how_it_was_read():
    both = UUID("8f2c1d3e-9a4b-4c4d-9e1f-0a2b3c7d8e9f")
    uuid, note = system_uuid(both.bytes_le)
    assert uuid == both
    assert "uncertain" in note
