"""One type parses every spelling of a MAC, once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.domain.errors import InvalidValue
from provisioner.domain.mac import Mac

STATIONS = st.binary(min_size=6, max_size=6).filter(lambda raw: not raw[0] & 1 and any(raw))


@pytest.mark.parametrize(
    "spelling",
    [
        "52:54:00:12:34:56",
        "52-54-00-12-34-56",
        "5254.0012.3456",
        "525400123456",
        "525400-123456",
        " 52:54:00:12:34:56 ",
        "52:54:00:AB:34:56".replace("AB", "12"),
    ],
)
def test_every_usual_spelling_is_the_same_mac(spelling: str) -> None:
    assert Mac.parse(spelling) == bytes.fromhex("525400123456")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a MAC address"),
        ("52:54:00:12:34", "is not a MAC address"),
        ("52:54-00:12:34:56", "is not a MAC address"),
        ("52:54:00:12:34:5g", "is not a MAC address"),
        ("41135085296", "is not a MAC address"),
        ("ff:ff:ff:ff:ff:ff", "is a group address"),
        ("01:00:5e:00:00:01", "is a group address"),
        ("00:00:00:00:00:00", "is blank"),
        ("10:00:00:90:fa:12:34:56", "64-bit name (WWN"),
    ],
)
def test_what_is_no_station_is_refused_with_field_value_and_remedy(text: str, says: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Mac.parse(text, "boot_mac")
    assert says in str(refused.value)
    assert str(refused.value).startswith("boot_mac ")
    assert refused.value.remedy


@given(STATIONS)
def test_what_is_printed_reads_back(raw: bytes) -> None:
    mac = Mac.from_wire(raw)
    assert Mac.parse(str(mac)) == Mac.parse(mac.hexhyp) == mac


@given(st.text(max_size=30))
def test_any_text_is_a_mac_or_refused(text: str) -> None:
    try:
        mac = Mac.parse(text)
    except InvalidValue:
        return
    assert len(mac) == 6
