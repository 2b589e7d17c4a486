"""Everything a machine would be told if it powered on now, from its first packet on. Changes nothing.

DHCP by the code that answers, loaders from the folder that serves, the script and files as they are frozen.
"""

import hashlib
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

from provisioner.boot.role_options import RoleOptions
from provisioner.boot.simulate import simulate
from provisioner.dhcp.decision import Context, Mode
from provisioner.dhcp.options import MessageType, Option
from provisioner.dhcp.packet import Packet
from provisioner.dhcp.rehearsal import Exchange, Rom, rehearse
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine
from provisioner.settings import InterfaceSettings, Settings
from provisioner.sockets import address_of
from provisioner.wiring import House, clock

_ADDRESSES = frozenset((1, 3, 6, 28, 42, 54))
_SECONDS = frozenset((51, 58, 59))
_TEXTS = frozenset((12, 15, 60, 66, 67))


def power_on(
    house: House, inventory: Inventory, machine: Machine | None, mac: Mac | None, rom: str = ""
) -> dict[str, Any]:
    """Plain data, ready for JSON. ``mac``: of a stranger, or of one of the machine's cards; ``rom``: a ``Rom``
    value, empty: the firmware that the machine was last seen with. Raises InvalidValue."""
    kind = _rom(rom, machine)
    mac = mac or (machine.boot_mac if machine else None)
    told = simulate(house.compiler, inventory, machine, clock())
    talk, why = _talk(house, inventory, machine, mac, kind)
    return {
        **told,
        "mac": str(mac) if mac else None,
        "arch": kind.value,
        "dhcp": [_shown(exchange) for exchange in talk],
        "no_dhcp": why,
        "loads": _loads(talk, house.settings),
    }


def rehearsal(house: House) -> Callable[[Inventory, Machine | None, Mac | None, str], dict[str, Any]]:
    """``power_on`` for the API."""
    return lambda inventory, machine, mac, rom: power_on(house, inventory, machine, mac, rom)


def _rom(name: str, machine: Machine | None) -> Rom:
    if not name:
        known = machine.firmware if machine else ""
        return Rom(known) if known in set(Rom) else Rom.BIOS
    if name not in set(Rom):
        raise InvalidValue("arch", name, "is no firmware that boots here", f"choose one of {', '.join(Rom)}")
    return Rom(name)


def _talk(
    house: House, inventory: Inventory, machine: Machine | None, mac: Mac | None, rom: Rom
) -> tuple[list[Exchange], str]:
    """The exchanges, or none and why."""
    if mac is None:
        return [], "it has no MAC"
    settings = house.settings
    if not settings.wires:
        return [], "no interface is configured; `--config` names the settings of the running service"
    try:
        wire, address = _wire_of(settings, inventory, machine)
    except Refused as refusal:
        return [], str(refusal)
    options = RoleOptions(house.roles, house.effective_roles.in_force)
    options.refresh()
    context = Context(
        wire.name,
        address,
        mode=Mode(wire.dhcp),
        loaders=frozenset(_loader_names(settings)),
        role_options=options.of,
    )
    return rehearse(mac, rom, inventory, context, clock(), machine.uuid if machine else None), ""


def _wire_of(
    settings: Settings, inventory: Inventory, machine: Machine | None
) -> tuple[InterfaceSettings, IPv4Address]:
    """The wire in the machine's own subnet, else the first. Raises Refused."""
    wires = [(wire, address_of(wire)) for wire in settings.wires]
    subnet = inventory.subnet_of(machine.ip) if machine and machine.ip else None
    return next(((wire, ours) for wire, ours in wires if subnet and ours in subnet.prefix), wires[0])


def _loader_names(settings: Settings) -> list[str]:
    return [path.name for path in settings.loaders.iterdir()] if settings.loaders.is_dir() else []


def _shown(exchange: Exchange) -> dict[str, Any]:
    decision, answer = exchange.decision, exchange.answer
    shown: dict[str, Any] = {
        "who": exchange.who,
        "asks": exchange.asked,
        "question": exchange.question.hex(),
        "reason": decision.reason,
        "answer": None,
        "packet": "",
    }
    if answer is not None and decision.reply is not None:
        shown |= {"answer": _decoded(answer), "packet": decision.reply.packet.hex()}
    return shown


def _decoded(packet: Packet) -> dict[str, Any]:
    return {
        "type": MessageType(packet.options[Option.MESSAGE_TYPE][0]).name,
        "yiaddr": str(packet.yiaddr),
        "siaddr": str(packet.siaddr),
        "file": packet.file.decode(errors="replace"),
        "options": {_name(code): _value(code, value) for code, value in packet.options.items()},
    }


def _name(code: int) -> str:
    known = {number: name.lower().replace("_", "-") for name, number in vars(Option).items() if name.isupper()}
    return known.get(code, f"option-{code}")


def _value(code: int, value: bytes) -> str:
    if code in _ADDRESSES and len(value) % 4 == 0:
        return ", ".join(str(IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4))
    if code in _SECONDS:
        return f"{int.from_bytes(value, 'big')} s"
    if code == Option.MESSAGE_TYPE:
        return MessageType(value[0]).name
    return value.decode(errors="replace") if code in _TEXTS else value.hex()


def _loads(talk: list[Exchange], settings: Settings) -> list[Mapping[str, Any]]:
    """The loaders that it is given, with size and sha256, as they lie there."""
    named = {exchange.who: exchange.answer.file.decode(errors="replace") for exchange in talk if exchange.answer}
    found: list[Mapping[str, Any]] = []
    for who, file in named.items():
        name = file.rpartition("/")[2]
        path = settings.loaders / name
        if who == "firmware" and name in _loader_names(settings) and path.is_file():
            data = path.read_bytes()
            by = "HTTP" if "://" in file else "TFTP"
            digest = hashlib.sha256(data).hexdigest()
            found.append({"name": file, "by": by, "size": len(data), "sha256": digest})
    return found
