"""The MAC address: identity on the wire."""

import re
from typing import Self

from provisioner.domain.errors import InvalidValue

_SPELLINGS = re.compile(
    r"(?:[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}"  # 52:54:00:12:34:56 and 52-54-00-12-34-56
    r"|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}"  # 5254.0012.3456, as switches print it
    r"|[0-9a-f]{6}-?[0-9a-f]{6}"  # 525400123456 and 525400-123456
    r")\Z",
    re.IGNORECASE,
)


class Mac(bytes):
    """An EUI-48 station address, six bytes in wire order.

    A ``bytes`` so that the DHCP path finds a machine by the raw ``chaddr`` without building anything.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, field: str = "mac") -> Self:
        """Read any usual spelling. Raises InvalidValue, naming ``field``, for what is no station's address."""
        text = text.strip()
        if not _SPELLINGS.match(text):
            digits = re.sub(r"[^0-9a-fA-F]", "", text)
            why = "is not a MAC address"
            if len(digits) == 16:
                why = "is a 64-bit name (WWN, EUI-64 or InfiniBand GUID), not a MAC"
            elif len(digits) == 40:
                why = "is an InfiniBand address, not a MAC; name an Ethernet card of that machine"
            elif re.fullmatch(r"\d+([.,]\d+)?E[+-]?\d+", text, re.IGNORECASE):
                why = "is a number that a spreadsheet made of a MAC address; make that column text there"
            raise InvalidValue(field, text, why, "write six pairs of hexadecimal digits, like 52:54:00:12:34:56")
        return cls.from_wire(bytes.fromhex(re.sub(r"[:.-]", "", text)), field)

    @classmethod
    def from_wire(cls, raw: bytes, field: str = "mac") -> Self:
        """Take six bytes as they came. Raises InvalidValue for group, zero and wrongly sized addresses."""
        mac = cls(raw)
        if len(raw) != 6:
            raise InvalidValue(field, raw.hex(":"), "is not six bytes long", "only Ethernet addresses are known")
        if raw[0] & 1:
            raise InvalidValue(field, mac, "is a group address", "give the network card's own address")
        if not any(raw):
            raise InvalidValue(field, mac, "is blank", "give the network card's own address")
        return mac

    @property
    def hexhyp(self) -> str:
        """``52-54-00-12-34-56``, as iPXE and PXELINUX spell it in file names."""
        return self.hex("-")

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"Mac('{self}')"
