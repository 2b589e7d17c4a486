"""The FRU that the lab's BMCs show, read back by an independent decoder."""

from uuid import UUID

import pytest
from pyghmi.ipmi.fru import FRU

from provisioner.domain.mac import Mac
from provisioner.lab.virtual_bmc import Nameplate, fru_bytes


@pytest.mark.parametrize("serial", ["LAB00001", "7", "S" * 63])
def test_a_fru_decodes_to_what_went_in(serial):
    plate = Nameplate("ACME Inc.", "Server 9", serial, UUID(int=5), Mac.parse("52:54:00:aa:bb:cc"))
    info = FRU(rawdata=bytearray(fru_bytes(plate))).info
    assert info["Manufacturer"] == info["Board manufacturer"] == "ACME Inc."
    assert info["Product name"] == info["Board product name"] == "Server 9"
    assert info["Serial Number"] == info["Board serial number"] == serial
    assert info["board_extra"] == ["MAC 52:54:00:aa:bb:cc"]


def test_every_area_sums_up_to_zero():
    raw = fru_bytes(Nameplate("A", "B", "C", UUID(int=5), Mac.parse("52:54:00:aa:bb:cc")))
    board, product = raw[3] * 8, raw[4] * 8
    areas = [raw[:8], raw[board : board + raw[board + 1] * 8], raw[product : product + raw[product + 1] * 8]]
    assert [sum(area) % 256 for area in areas] == [0, 0, 0]
    assert sum(map(len, areas)) == len(raw)
