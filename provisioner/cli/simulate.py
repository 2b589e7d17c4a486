"""``provisioner simulate``: everything a machine would be told if it powered on now."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from provisioner.cli import session
from provisioner.dhcp.rehearsal import Rom
from provisioner.domain.errors import NotFound, Refused
from provisioner.domain.mac import Mac
from provisioner.power_on import power_on

EXAMPLE = "Example: `provisioner simulate node-01 --arch uefi-x64`"


def simulate(
    machine: Annotated[str, typer.Argument(metavar="MACHINE|MAC", help="Name, id, MAC or address.")],
    arch: Annotated[str, typer.Option(help=f"{', '.join(Rom)}; default: as it was last seen, else bios.")] = "",
    part: Annotated[str, typer.Option(metavar="FILE", help="Print one of its files instead, whole.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the machine would be told if it powered on now: DHCP, loader, script, files. Changes nothing."""
    with session.house() as house:
        inventory = house.store.inventory()
        found, mac = inventory.find(machine), None
        try:
            mac = Mac.parse(machine)
        except Refused:
            if found is None:
                raise NotFound("machine", machine) from None
        told = power_on(house, inventory, found, mac, arch)
    if json:
        session.show_json(told)
    elif part:
        sys.stdout.write(_file(told, part))
    else:
        session.say("\n".join(_lines(told)))


def _file(told: Mapping[str, Any], part: str) -> str:
    """Raises Refused."""
    compiled = told["install"] or told["live"] or told["if_armed"] or {}
    files = {file["name"]: str(file["text"]) for file in compiled.get("files", [])}
    if part not in files:
        raise Refused(f"there is no file {part!r}", f"there is: {', '.join(files) or 'none'}")
    return files[part]


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    for key in ("machine", "mac", "arch", "state", "action", "reason", "ends"):
        if told[key]:
            yield f"{key}: {told[key]}"
    yield from _talk(told)
    if menu := told["menu"]:
        password = ", with a password" if menu["password"] else ""
        yield f"menu: {', '.join(menu['roles'])}; {menu['seconds']} s{password}"
        yield from (f"    {line}" for line in menu["script"].splitlines())
    yield "boot_script:"
    yield from (f"    {line}" for line in told["boot_script"].splitlines())
    for key in ("install", "live", "if_armed"):
        if told[key]:
            yield f"{key}:"
            yield from _compiled(told[key])


def _talk(told: Mapping[str, Any]) -> Iterator[str]:
    if told["no_dhcp"]:
        yield f"dhcp: not played through: {told['no_dhcp']}"
        return
    yield "dhcp:"
    for exchange in told["dhcp"]:
        yield f"    {exchange['who']} {exchange['asks']}: {exchange['reason']}"
        if answer := exchange["answer"]:
            yield f"        {answer['type']} address {answer['yiaddr']}, next server {answer['siaddr']}"
            if answer["file"]:
                yield f"        boot file {answer['file']}"
            yield from (f"        {name} {value}" for name, value in answer["options"].items())
    for file in told["loads"]:
        yield f"loads: {file['name']} by {file['by']}, {file['size']} bytes, sha256 {file['sha256']}"


def _compiled(compiled: Mapping[str, Any]) -> Iterator[str]:
    for key, value in compiled.items():
        if key == "files":
            for file in value:
                yield f"    {file['name']:14} {file['size']:7} bytes, sha256 {file['sha256']}"
        elif isinstance(value, list):
            yield from (f"    {key:12} {item}" for item in value)
        else:
            yield f"    {key:12} {value}"
