"""What a FRU (field replaceable unit) tells about its server, from the fields that pyghmi decoded.

Source: Platform Management FRU Information Storage Definition 1.2. Everything in it was typed by somebody in a
factory: strings are data, cleaned of control characters, and known fillers count as missing.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from provisioner.domain.errors import InvalidValue
from provisioner.domain.mac import Mac

_FILLERS = frozenset(
    {"", "none", "n/a", "na", "unknown", "not specified", "default string", "empty", "0123456789", "123456789"}
    | {"to be filled by o.e.m.", "to be filled by o.e.m", "system product name", "system serial number"}
)
_EXTRA = ("board_extra", "product_extra", "chassis_extra")
_PAIRS = re.compile(r"(?<![0-9a-f:-])[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5,7}(?![0-9a-f:-])", re.IGNORECASE)
_BARE = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{12}|[0-9a-f]{16})(?![0-9a-f])", re.IGNORECASE)
_NIC_LABEL = re.compile(r"\bmac|\bnic\b|\beth", re.IGNORECASE)
_BMC_LABEL = re.compile(r"bmc|ipmi|\bilo\b|idrac|\bxcc\b|\bimm\b|mgmt|management", re.IGNORECASE)


def text(value: Any) -> str:
    """A FRU field as printable text; empty for binary fields, fillers and nothing."""
    if not isinstance(value, str):
        return ""
    clean = "".join(c for c in value if c.isprintable()).strip()
    return "" if clean.lower() in _FILLERS else clean


def first(info: Mapping[str, Any], *names: str) -> str:
    """The first of the named fields that says something."""
    return next((found for name in names if (found := text(info.get(name)))), "")


def custom_fields(info: Mapping[str, Any]) -> list[str]:
    """The vendor's own fields of board, product and chassis area, in this order."""
    return [found for area in _EXTRA for field in info.get(area) or () if (found := text(field))]


def host_macs(fields: Iterable[str], own: Mac | None) -> tuple[list[Mac], list[str]]:
    """The host's MACs among custom fields, in their order, and notes on what looked like one but is not.

    ``own`` is the BMC's own MAC: never a boot MAC, left out wherever it turns up.
    """
    macs: list[Mac] = []
    notes: list[str] = []
    for field in fields:
        spelled = _PAIRS.findall(field) or (_BARE.findall(field) if _NIC_LABEL.search(field) else [])
        for spelling in spelled:
            try:
                mac = Mac.parse(spelling)
            except InvalidValue as refused:
                notes.append(f"FRU field {field!r} left out: {refused.problem}")
                continue
            if mac == own or _BMC_LABEL.search(field):
                notes.append(f"FRU field {field!r} left out: it is the BMC's own MAC")
            elif mac not in macs:
                macs.append(mac)
    return macs, notes
