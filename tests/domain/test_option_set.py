"""DHCP options as operators write them: what goes out on the wire, what is shown again, what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.domain.errors import InvalidValue
from provisioner.domain.option_set import read_options, show_options

WRITTEN = [
    ("router", "10.12.1.1", 3, "0a0c0101"),
    ("dns", "10.12.1.2, 10.12.1.3", 6, "0a0c01020a0c0103"),
    ("log-servers", "10.12.1.5", 7, "0a0c0105"),
    ("domain", "rack.example", 15, b"rack.example".hex()),
    ("mtu", "9000", 26, "2328"),
    ("ntp", "10.12.1.4", 42, "0a0c0104"),
    ("vendor", "1=hex:0a0b, 2=text:hi, 241=ip:10.12.1.9", 43, "01020a0b02026869f1040a0c0109"),
    ("time-zone", "Europe/Zurich", 101, b"Europe/Zurich".hex()),
    # RFC 3397 §2: names as DNS writes them
    ("domain-search", "eng.apple.com, marketing.apple.com", 119,
     "03656e67056170706c6503636f6d00096d61726b6574696e67056170706c6503636f6d00"),
    # RFC 3442: the table of its page 3
    ("classless-routes", "10.0.0.0/8 via 10.12.1.1", 121, "080a0a0c0101"),
    ("classless-routes", "10.0.0.0/24 via 10.12.1.1", 121, "180a00000a0c0101"),
    ("classless-routes", "10.17.0.0/16 via 10.12.1.1", 121, "100a110a0c0101"),
    ("classless-routes", "10.27.129.0/24 via 10.12.1.1", 121, "180a1b810a0c0101"),
    ("classless-routes", "10.229.0.128/25 via 10.12.1.1", 121, "190ae500800a0c0101"),
    ("classless-routes", "10.198.122.47/32 via 10.12.1.1", 121, "200ac67a2f0a0c0101"),
    ("classless-routes", "default via 10.12.1.254; 10.9.0.0/16 via 0.0.0.0", 121, "000a0c01fe100a0900000000"),
    ("224", "hex:0a:0b", 224, "0a0b"),
    ("224", "text:words here", 224, b"words here".hex()),
    ("224", "ip:10.12.1.4", 224, "0a0c0104"),
    ("249", "hex:080a0a0c0101", 249, "080a0a0c0101"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "code", "encoded"), WRITTEN)
def test_what_is_written_goes_out_as_the_rfcs_say_and_reads_back(
    name: str, text: str, code: int, encoded: str
) -> None:
    options = read_options({name: text})
    assert {code: value.hex() for code, value in options.items()} == {code: encoded}
    assert read_options(show_options(options)) == options
    assert next(iter(show_options(options))) == name


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("router", "10.12.1", "has '10.12.1', which is no IPv4 address; write it like router=10.12.1.1"),
        ("dns", ",", "names no address"),
        ("mtu", "90", "is no MTU from 576 to 65535; write it like mtu=9000"),
        ("mtu", "9k", "is no MTU"),
        ("mtu", "hex:2328ff", "is no 16-bit number"),
        ("domain", "bad name", "is no domain name"),
        ("domain-search", "a..b", "is no domain name"),
        ("domain-search", "x" * 64 + ".example", "is no domain name"),
        ("classless-routes", "10.0.0.0/8", "is no route; write it like classless-routes=10.0.0.0/8 via 10.12.1.1"),
        ("classless-routes", "10.0.0.1/8 via 10.12.1.1", "has host bits set"),
        ("classless-routes", "10.0.0.0/8 via 10.12.1.1, 10.0.0.0/8 via 10.12.1.2", "twice"),
        ("classless-routes", "hex:21", "is no list of routes"),
        ("vendor", "256=hex:00", "is no sub-option"),
        ("vendor", "1=zz", "is not hexadecimal"),
        ("time-zone", "Zürich", "not printable ASCII"),
        ("224", "0a0b", "does not say what kind of value it is; write it like 224=hex:0a0b, text:WORDS or ip:"),
        ("224", "hex:", "has 0 bytes; 1 to 1024 fit"),
        ("224", "text:" + "x" * 1025, "has 1025 bytes; 1 to 1024 fit"),
        ("jumbo", "1", "is no DHCP option; use one of router, dns,"),
        ("255", "hex:00", "is no DHCP option"),
        ("0", "hex:00", "is no DHCP option"),
        ("53", "hex:05", "cannot be stated: the protocol itself writes it"),
        ("67", "text:boot", "cannot be stated: the boot file follows from the firmware"),
        ("51", "hex:00000e10", "--lease-seconds"),
        ("13", "hex:0001", "EDK2 sizes its buffer by it"),
        ("82", "hex:00", "the protocol itself writes it"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_with_what_would_be_right(name: str, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=r"^option '") as refusal:
        read_options({name: text})
    assert said in str(refusal.value)
    assert name in str(refusal.value)


def test_an_option_under_two_names_is_refused() -> None:
    with pytest.raises(InvalidValue, match="states option 26 a second time"):
        read_options({"mtu": "9000", "26": "hex:2328"})


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from((3, 15, 26, 43, 101, 119, 121, 224)), st.binary(min_size=1, max_size=40)))
def test_any_stored_set_can_be_shown(options: dict[int, bytes]) -> None:
    shown = show_options(options)
    assert len(shown) == len(options)
    assert all(text.isprintable() for text in shown.values())
