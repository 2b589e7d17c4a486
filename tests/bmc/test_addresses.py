"""The appliance is not talked into calling itself or what only it can reach."""

import socket

import pytest

from provisioner.bmc.addresses import check_bmc_address
from provisioner.domain.errors import InvalidValue


@pytest.mark.rule("threat-05")
@pytest.mark.rule("threat-06")
@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "bmc.example.com",
        "-Hevil",
        "10.0.0.1; reboot",
        "",
    ],
)
def test_an_address_that_cannot_be_a_bmc_is_refused_by_field_and_value(text):
    with pytest.raises(InvalidValue) as refused:
        check_bmc_address(text, "bmc")
    assert refused.value.field == "bmc"
    assert refused.value.value == text
    assert refused.value.remedy


@pytest.mark.parametrize("text", ["10.12.0.17", " 192.0.2.5 ", "2001:db8::5"])
def test_an_ordinary_address_comes_back_parsed(text):
    assert str(check_bmc_address(text)) == text.strip()


def test_an_address_of_this_host_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; asks the kernel which address it would use
        except OSError:
            pytest.skip("this host has no address but loopback")
        own = probe.getsockname()[0]
    with pytest.raises(InvalidValue, match="appliance itself"):
        check_bmc_address(own)


def test_loopback_is_allowed_only_on_demand():
    assert str(check_bmc_address("127.0.0.1", allow_loopback=True)) == "127.0.0.1"
