"""Every shipped role, rendered for a cluster of machines; the files that its configs write."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes
from uuid import UUID

from ruamel.yaml import YAML

from provisioner.boot.compile import Compiled, RoleCompiler
from provisioner.boot.render import Renderer
from provisioner.boot.roles import RoleFolder
from provisioner.boot.trial import example_files
from provisioner.domain.cluster import Cluster
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from tests.boot.rack import SHIPPED, SUBNET, File, Image, machine

FOLDER = RoleFolder(SHIPPED)
NAMES = FOLDER.names()
KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExample operator@example"]
DIGEST = "5" * 64


class Entry(NamedTuple):
    """A payload file as the appliance keeps it."""

    sha256: str


class Written(NamedTuple):
    """A file on the installed or live system. ``unit``: it is one of systemd's."""

    path: str
    text: str
    unit: bool = False


def images(name: str, version: str | None) -> Image:
    """An image with the publisher's file names, or those that the roles which boot it name."""
    users = (FOLDER.get(role) for role in NAMES)
    files = {file for role in users if role.settings.image == name for file in example_files(role)}
    return Image(name, version or "1.2.3", tuple(map(File, sorted(files))))


def payload() -> dict[str, Entry]:
    return {file.path: Entry(DIGEST) for name in NAMES for file in FOLDER.get(name).settings.payload}


@cache
def _renderer() -> Renderer:
    return Renderer()


def compile_for(target: Machine, *others: Machine) -> Compiled:
    """What ``target`` is told among the others."""
    made = RoleCompiler(FOLDER, images, _renderer(), payload, key=b"k" * 32)
    clusters = [Cluster(UUID(int=7), "blue", "10.12.1.100:6443")]
    return made.compile(target, Inventory.build([target, *others], [SUBNET], clusters=clusters))


def cluster_of(role: str, *, params: Mapping[str, Any] | None = None, name: str = "blue") -> list[Machine]:
    """Three machines of the role, then one for each role that it needs."""
    settings = FOLDER.get(role).settings
    given: dict[str, Any] = {name: p.example for name, p in settings.parameters.items() if p.example is not None}
    if "ssh_authorized_keys" in settings.parameters:
        given["ssh_authorized_keys"] = KEYS
    given |= params or {}
    members = [machine(at, role, cluster=name, params=given) for at in (1, 2, 3)]
    return members + [machine(10 + at, needed, cluster=name) for at, needed in enumerate(settings.needs)]


@cache
def rendered(role: str) -> tuple[Compiled, ...]:
    """The role for each of its three machines."""
    members = cluster_of(role)
    return tuple(compile_for(m, *(o for o in members if o is not m)) for m in members[:3])


def config(role: str, at: int = 0) -> Any:
    """The cloud-config as data."""
    return YAML(typ="safe").load(rendered(role)[at].files["config.yml"].decode())


def written(files: Mapping[str, bytes]) -> Iterator[Written]:
    """What the configs among the compiled files put on a machine, drop-ins as NAME.d/DROPIN."""
    for name, data in files.items():
        if name.endswith(".yml"):
            yield from _by_cloud_config(YAML(typ="safe").load(data.decode()))
        elif name.endswith((".ign", ".json")) and name != "meta-data":
            yield from _by_ignition(json.loads(data))
        elif name.endswith(".sh"):
            yield Written(name, data.decode())


def _by_cloud_config(document: Mapping[str, Any]) -> Iterator[Written]:
    for file in document.get("write_files", ()):
        yield Written(file["path"], file.get("content", ""), file["path"].startswith("/etc/systemd/system/"))
    yield from _units(document.get("coreos", {}).get("units", ()), "content", "drop_ins")


def _by_ignition(document: Mapping[str, Any]) -> Iterator[Written]:
    for file in document.get("storage", {}).get("files", ()):
        source = file.get("contents", {}).get("source", "")
        if source.startswith("data:"):
            yield Written(file["path"], unquote_to_bytes(source.partition(",")[2]).decode())
    yield from _units(document.get("systemd", {}).get("units", ()), "contents", "dropins")


def _units(units: Sequence[Mapping[str, Any]], content: str, drop_ins: str) -> Iterator[Written]:
    for unit in units:
        if unit.get(content):
            yield Written(f"/etc/systemd/system/{unit['name']}", unit[content], unit=True)
        for drop_in in unit.get(drop_ins, ()):
            place = f"/etc/systemd/system/{unit['name']}.d/{drop_in['name']}"
            yield Written(place, drop_in.get(content, ""), unit=True)


def scripts(role: str) -> dict[str, str]:
    """Each shell script that the role's first machine gets, by path."""
    found = written(rendered(role)[0].files)
    return {file.path: file.text for file in found if re.match(r"#!.*\b(ba)?sh\b", file.text)}
