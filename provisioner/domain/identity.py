"""Is the machine that asks the one that the inventory means? Asked before anything may be wiped.

A MAC is known long before the board boots; iPXE then tells what SMBIOS holds (system UUID and serial, DMTF DSP0134
§7.2). Firmware lies: placeholders are nobody's, and one odd value alone is no contradiction.
"""

import re
from collections.abc import Iterable
from uuid import UUID

from provisioner.domain.machine import Machine

_NOBODYS = {
    UUID(int=0),
    UUID(int=2**128 - 1),
    # What board makers leave in their reference BIOS; thousands of machines share each.
    UUID("03000200-0400-0500-0006-000700080009"),
    UUID("00020003-0004-0005-0006-000700080009"),
}
_NO_SERIAL = re.compile(
    r"\W*|0+|1+|x+|n/?a|none|unknown|default( string)?|not (specified|applicable|available|present)|"
    r"to be filled by o\.?e\.?m\.?|system serial number|(s/?n)?0?123456789\w*|oem",
    re.IGNORECASE,
)


def contradiction(machine: Machine, others: Iterable[Machine], uuid: str, serial: str) -> str:
    """Why the board that booted with this machine's MAC is not this machine; empty: nothing speaks against it.

    ``uuid`` and ``serial`` as the firmware states them. Another listed machine's identity is a swap; one's own must
    differ in both to count, since BMC and SMBIOS often disagree on one of them.
    """
    said, number = _uuid(uuid), _serial(serial)
    strangers = [other for other in others if other.id != machine.id]
    ours = _same_uuid(machine, said), _same_serial(machine, number)
    # What several listed boards share was never written for one of them: it speaks neither for one nor against it.
    shared = (
        [other for other in strangers if _same_uuid(other, said)],
        [other for other in strangers if _same_serial(other, number)],
    )
    if any(same and not holders for same, holders in zip(ours, shared, strict=True)):
        return ""
    for same, what, holders in zip(ours, (f"UUID {said}", f"serial {number}"), shared, strict=True):
        if not same and len(holders) == 1:
            return (
                f"booted with the MAC of {machine.name} but the {what} of {holders[0].name}: are their boards or "
                f"cables swapped? Correct the MACs of both, then accept {machine.name}"
            )
    if ours == (False, False):
        return (
            f"says UUID {said} and serial {number}, but {machine.name} is listed with UUID {machine.uuid} and "
            f"serial {machine.serial}: another board? Accept it if it belongs here, else correct its MAC"
        )
    return ""


def _same_uuid(machine: Machine, said: UUID | None) -> bool | None:
    """None: one of the two is not known."""
    if said is None or machine.uuid is None or machine.uuid in _NOBODYS:
        return None
    # BMCs write the first three fields in either byte order.
    return machine.uuid in (said, UUID(bytes=said.bytes_le))


def _same_serial(machine: Machine, said: str) -> bool | None:
    known = _serial(machine.serial)
    return known.casefold() == said.casefold() if known and said else None


def _uuid(text: str) -> UUID | None:
    try:
        said = UUID(text)
    except ValueError:
        return None
    return None if said in _NOBODYS else said


def _serial(text: str) -> str:
    text = text.strip()
    return "" if _NO_SERIAL.fullmatch(text) else text
