"""The snapshot on disk: with the database gone, a restarted process still answers known machines.

JSON lines: a head with the subnets and clusters, one machine or empty slot a line, an end mark. BMCs and
credentials are not in it; the compiled files are, with placeholders where tokens go. Readable to its owner only.
"""

import base64
import json
import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import InvalidValue
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Install, Interface, Machine, OnFailure, Phase, Slot, State
from provisioner.domain.place import Place
from provisioner.domain.subnet import AddressRange, Subnet, UnknownPolicy

FORMAT = 2


def write_snapshot(path: Path, inventory: Inventory) -> None:
    """Replace the file atomically and durably. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            subnets = [_subnet_data(subnet) for subnet in inventory.subnets]
            clusters = [_plain(cluster) for cluster in inventory.clusters.values()]
            head = {"format": FORMAT, "seq": inventory.seq, "subnets": subnets, "clusters": clusters}
            file.write(_line(head))
            # Line by line: one long json.dumps would hold the interpreter while packets wait.
            for machine in inventory.machines.values():
                file.write(_line(_machine_data(machine)))
            for place in inventory.places.values():
                file.write(_line({"place": _place_data(place)}))
            file.write(_line({"end": len(inventory.machines) + len(inventory.places)}))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_snapshot(path: Path, *, files: bool | str = True) -> Inventory | None:
    """What the file holds, or None when there is none. Raises ValueError for a damaged or foreign file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    try:
        head, *items, end = map(json.loads, lines)
        subnets = [_subnet(data) for data in head["subnets"]]
        inventory = Inventory.build(
            (_machine(data, files=files) for data in items if "place" not in data),
            subnets,
            head["seq"],
            places=(_place(data["place"]) for data in items if "place" in data),
            clusters=(Cluster(**{**data, "id": UUID(data["id"])}) for data in head["clusters"]),
        )
        whole = head["format"] == FORMAT and end["end"] == len(items)
    except (KeyError, TypeError, AttributeError, ValueError, InvalidValue) as error:
        raise ValueError(f"{path} is no snapshot of this program: {error}") from error
    if not whole:
        raise ValueError(f"{path} is of another format, or cut off")
    return inventory


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":")) + "\n"


def _plain(record: object, *left_out: str) -> dict[str, Any]:
    """A record's fields as JSON has them: ids, addresses and enums as text, None as it is."""
    names = getattr(type(record), "__slots__")  # noqa: B009 - mypy knows no slots on object
    fields = {name: getattr(record, name) for name in names if name not in left_out}
    return {
        name: value if value is None or isinstance(value, (bool, int)) else _text_or_map(value)
        for name, value in fields.items()
    }


def _text_or_map(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _machine_data(machine: Machine) -> dict[str, Any]:
    install = machine.install
    return {
        **_plain(machine, "slot", "interfaces", "addresses", "install"),
        "slot": _slot_data(machine.slot),
        "interfaces": [_plain(nic) for nic in machine.interfaces],
        "addresses": [_plain(address) for address in machine.addresses],
        "install": install
        and {
            **_plain(install, "files"),
            "files": {name: base64.b64encode(content).decode() for name, content in install.files.items()},
        },
    }


def _place_data(place: Place) -> dict[str, Any]:
    return {"slot": _slot_data(place.slot), "addresses": [_plain(address) for address in place.addresses]}


def _place(data: dict[str, Any]) -> Place:
    return Place(_slot(data["slot"]), tuple(map(_address, data["addresses"])))


def _slot_data(slot: Slot) -> dict[str, Any]:
    return {**_plain(slot, "options"), "options": _options_data(slot.options)}


def _slot(data: dict[str, Any]) -> Slot:
    return Slot(**{**data, "id": UUID(data["id"]), "options": _options(data.get("options", {}))})


def _address(data: dict[str, Any]) -> Address:
    return Address(UUID(data["id"]), ip_address(data["ip"]), Mac.parse(data["mac"]) if data["mac"] else None)


def _machine(data: dict[str, Any], *, files: bool | str) -> Machine:
    return Machine(
        **{
            **data,
            "id": UUID(data["id"]),
            "slot": _slot(data["slot"]),
            "state": State(data["state"]),
            "interfaces": tuple(
                Interface(**{**nic, "id": UUID(nic["id"]), "mac": Mac.parse(nic["mac"])})
                for nic in data["interfaces"]
            ),
            "addresses": tuple(map(_address, data["addresses"])),
            "uuid": UUID(data["uuid"]) if data["uuid"] else None,
            "bmc_id": UUID(data["bmc_id"]) if data["bmc_id"] else None,
            "install": _install(data["install"], files=files) if data["install"] else None,
        }
    )


def _install(data: dict[str, Any], *, files: bool | str) -> Install:
    wanted = (
        data["files"] if files is True else {name: text for name, text in data["files"].items() if name == files}
    )
    compiled = {name: base64.b64decode(text) for name, text in wanted.items()}
    return Install(
        **{
            **data,
            "id": UUID(data["id"]),
            "phase": Phase(data["phase"]) if data["phase"] else None,
            "on_failure": OnFailure(data["on_failure"]),
            "files": compiled,
        }
    )


def _subnet_data(subnet: Subnet) -> dict[str, Any]:
    return {
        **_plain(subnet, "dns", "ntp", "pools", "options"),
        "dns": list(map(str, subnet.dns)),
        "ntp": list(map(str, subnet.ntp)),
        "pools": [[str(pool.first), str(pool.last)] for pool in subnet.pools],
        "options": _options_data(subnet.options),
    }


def _options_data(options: Mapping[int, bytes]) -> dict[str, str]:
    return {str(code): value.hex() for code, value in options.items()}


def _options(data: Mapping[str, str]) -> dict[int, bytes]:
    return {int(code): bytes.fromhex(value) for code, value in data.items()}


def _subnet(data: dict[str, Any]) -> Subnet:
    return Subnet(
        **{
            **data,
            "id": UUID(data["id"]),
            "prefix": ip_network(data["prefix"]),
            "gateway": ip_address(data["gateway"]) if data["gateway"] else None,
            "dns": tuple(map(ip_address, data["dns"])),
            "ntp": tuple(map(ip_address, data["ntp"])),
            "pools": tuple(AddressRange(ip_address(first), ip_address(last)) for first, last in data["pools"]),
            "unknown": UnknownPolicy(data["unknown"]),
            "options": _options(data["options"]),
        }
    )
