"""The two questions that every IPMI BMC answers without a login, as bytes. Pure.

ASF presence ping and pong (ASF 2.0 §3.2.4.2–3), and Get Channel Authentication Capabilities (IPMI 2.0 §22.13),
which answers where the ping is switched off.
"""

ASF_PING = bytes.fromhex("0600ff06 000011be 80 00 00 00")
CAPABILITIES = bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c8 8100388e04b5")

_MAKERS = {
    11: "HP",
    343: "Intel",
    674: "Dell",
    10876: "Supermicro",
    19046: "Lenovo",
    20301: "IBM",
    47196: "HPE",
}
"""IANA enterprise numbers of those who make BMCs; 4542 in a pong is ASF's own and names nobody."""


def is_capabilities(answer: bytes) -> bool:
    """Is it a response to ``CAPABILITIES``: RMCP 1.0, class IPMI (§13.1.3), the same command?"""
    return len(answer) >= 22 and answer[0] == 6 and answer[3] == 7 and answer[15] >> 2 == 7 and answer[19] == 0x38


def heard(answer: bytes) -> str | None:
    """The vendor of who sent this, '' if it does not tell; None if it is no BMC that speaks IPMI."""
    if is_capabilities(answer):
        # The OEM's number stands there only if it has a login of its own (table 22-15).
        return _MAKERS.get(int.from_bytes(answer[25:28], "little"), "") if len(answer) >= 28 else ""
    if len(answer) >= 28 and answer[0] == 6 and answer[3] == 6 and answer[8] == 0x40 and answer[20] & 0x80:
        return _MAKERS.get(int.from_bytes(answer[12:16], "big"), "")
    return None
