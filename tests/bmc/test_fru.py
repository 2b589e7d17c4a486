"""What is and is not a host's MAC among the fields that factories write."""

import pytest

from provisioner.bmc.fru import custom_fields, first, host_macs
from provisioner.domain.mac import Mac

A, B = Mac.parse("52:54:00:00:00:0a"), Mac.parse("52:54:00:00:00:0b")


@pytest.mark.parametrize(
    ("fields", "macs"),
    [
        (["MAC 52:54:00:00:00:0a"], [A]),
        (["MAC: 52-54-00-00-00-0A"], [A]),
        (["NIC1 MAC=5254.0000.000a"], []),  # no vendor is known to write it so; a note would be a guess
        (["MAC 52540000000a"], [A]),
        (["Asset 52540000000a"], []),  # twelve digits without a label are an asset number
        (["52:54:00:00:00:0b", "52:54:00:00:00:0a"], [B, A]),
        (["MAC 52:54:00:00:00:0a 52:54:00:00:00:0b"], [A, B]),
        (["MAC 52:54:00:00:00:0a", "eth0 52:54:00:00:00:0a"], [A]),
        (["no address here", ""], []),
    ],
)
def test_macs_are_read_in_their_order(fields, macs):
    assert host_macs(fields, None)[0] == macs


@pytest.mark.rule("fault-10")
@pytest.mark.parametrize("field", ["MAC 50:01:43:80:12:34:56:78", "MAC 5001438012345678"])
def test_a_wwn_is_no_mac_and_a_note_says_so(field):
    macs, notes = host_macs([field], None)
    assert macs == []
    assert "64-bit name" in notes[0]


@pytest.mark.parametrize("field", ["MAC 00:00:00:00:00:00", "MAC 01:00:5e:00:00:01", "MAC ff:ff:ff:ff:ff:ff"])
def test_blank_and_group_addresses_are_left_out_with_a_note(field):
    macs, notes = host_macs([field], None)
    assert macs == []
    assert field in notes[0]


def test_the_bmcs_own_mac_is_never_a_host_mac():
    macs, notes = host_macs(["MAC 52:54:00:00:00:0a", "MAC 52:54:00:00:00:0b", "BMC MAC 52:54:00:00:00:0c"], A)
    assert macs == [B]
    assert len(notes) == 2


def test_fillers_and_binary_fields_count_as_missing():
    info = {"Manufacturer": "To be filled by O.E.M.", "Board manufacturer": "ACME\x00\x1b[2J", "Serial": b"\x01"}
    assert first(info, "Manufacturer", "Board manufacturer") == "ACME[2J"
    assert first(info, "Serial") == ""
    assert custom_fields({"board_extra": [None, "x y"], "product_extra": [bytearray(b"\1\2"), "z"]}) == ["x y", "z"]
