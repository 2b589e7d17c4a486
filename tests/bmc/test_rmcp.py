"""What counts as a BMC's answer to a question asked without a login."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.bmc import rmcp

PONG = bytes.fromhex("0600ff06 000011be 40 00 00 10")
CAPABILITIES = bytes.fromhex("0600ff07000000000000000000 10 811c63200038 00 0e8004020000000042")


def pong(enterprise: int, entities: int = 0x81) -> bytes:
    return PONG + enterprise.to_bytes(4, "big") + bytes(4) + bytes([entities]) + bytes(7)


@pytest.mark.parametrize(
    ("answer", "vendor"),
    [
        (pong(4542), ""),
        (pong(674), "Dell"),
        (pong(10876), "Supermicro"),
        (CAPABILITIES, ""),
        (CAPABILITIES[:25] + (10876).to_bytes(3, "little") + CAPABILITIES[28:], "Supermicro"),
        (pong(4542, entities=0x01), None),  # ASF, but no IPMI
        (rmcp.ASF_PING, None),  # an echo
        (rmcp.CAPABILITIES, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
    ],
)
def test_who_answers_and_what_it_says_of_its_maker(answer: bytes, vendor: str | None) -> None:
    assert rmcp.heard(answer) == vendor


@given(st.binary(max_size=64), st.sampled_from([b"", PONG, CAPABILITIES[:21]]))
@settings(max_examples=200)
def test_any_bytes_are_judged_without_a_fault(tail: bytes, head: bytes) -> None:
    assert rmcp.heard(head + tail) in (None, "", "Dell", "HP", "HPE", "Intel", "Supermicro", "Lenovo", "IBM")
