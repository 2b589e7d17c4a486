"""Host MACs that only a maker's own IPMI commands tell. Written from public descriptions, captured from no BMC yet.

Supermicro: ``raw 0x30 0x21`` (undocumented, widely scripted): the answer ends with the first LAN port's MAC.
Dell: Get System Info (IPMI 2.0 §22.14b), parameter 0xDA, as ipmitool's ``delloem mac list`` reads it.
Lenovo and IBM: pyghmi's inventory, where adapters have ``MAC Address 1`` (or, from an IMM, ``MAC Address 1.0``).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from provisioner.domain.errors import InvalidValue
from provisioner.domain.mac import Mac

Raw = Callable[[int, int, Sequence[int]], bytes]
"""Network function, command, data; the answer's data behind its completion code. Raises what the adapter raises."""

DELL, IBM, LENOVO, SUPERMICRO = 674, (2, 20301), 19046, (10876, 47488)
"""IANA enterprise numbers, as Get Device ID tells them."""
_APPLICATION, _SYSTEM_INFO, _DELL_NICS = 0x06, 0x59, 0xDA
_RECORD = 8
"""Bytes of one NIC: type and status, its number, six of MAC."""
_MOST_NICS = 8
_MAC_FIELD = re.compile(r"MAC Address \d+(\.0)?\Z")


def maker(device_id: bytes) -> int:
    """The manufacturer in an answer to Get Device ID (§20.1); 0 if it is too short to have one."""
    return int.from_bytes(device_id[6:9], "little") & 0xFFFFF if len(device_id) >= 9 else 0


def macs(number: int, raw: Raw, inventory: Callable[[], Iterable[tuple[str, Any]]]) -> list[Mac]:
    """What this maker's BMC tells beyond the FRUs, boot NIC first; empty for makers without such a command."""
    if number in SUPERMICRO:
        return _some([raw(0x30, 0x21, ())[-6:]])
    if number == DELL:
        return _dell(raw)
    if number == LENOVO or number in IBM:
        return _inventory(inventory())
    return []


def _dell(raw: Raw) -> list[Mac]:
    """Records of the on-board NICs; those for iSCSI are left out, they never boot by DHCP."""
    length = raw(_APPLICATION, _SYSTEM_INFO, (0, _DELL_NICS, 0, 0, 0, 0))
    count = min(length[1] // _RECORD, _MOST_NICS) if len(length) > 1 else 0
    records = [
        raw(_APPLICATION, _SYSTEM_INFO, (0, _DELL_NICS, 0, 0, place * _RECORD, _RECORD))[1 : 1 + _RECORD]
        for place in range(count)
    ]
    ethernet = [record for record in records if len(record) == _RECORD and not record[0] >> 4 & 0b11]
    return _some(record[2:] for record in sorted(ethernet, key=lambda record: record[1] & 0b11111))


def _inventory(components: Iterable[tuple[str, Any]]) -> list[Mac]:
    found: list[Mac] = []
    for _, fields in components:
        for name, value in fields.items() if isinstance(fields, Mapping) else ():
            if _MAC_FIELD.match(str(name)) and isinstance(value, str):
                try:
                    found.append(Mac.parse(value))
                except InvalidValue:
                    continue  # an empty port of the adapter
    return list(dict.fromkeys(found))


def _some(spelled: Iterable[bytes]) -> list[Mac]:
    """Stations' addresses among these, each once."""
    found: list[Mac] = []
    for raw in spelled:
        try:
            found.append(Mac.from_wire(raw))
        except InvalidValue:
            continue  # an empty place is all zero
    return list(dict.fromkeys(found))
