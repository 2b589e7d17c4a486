"""A role tried on an example machine, so that its faults show before anybody arms one."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

from provisioner.boot.compile import Compiled, ImageLookup, RoleCompiler
from provisioner.boot.payload import PayloadEntry, PayloadLookup, no_payload
from provisioner.boot.release import families
from provisioner.boot.render import Renderer
from provisioner.boot.roles import Role, RoleFolder
from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import NotFound
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, Machine, Slot
from provisioner.domain.subnet import Subnet

_EXAMPLES: dict[str, Any] = {
    "string": "example",
    "integer": 1,
    "boolean": True,
    "list": ["example"],
    "map": {"a": "b"},
}


_CLUSTER = Cluster(UUID(int=0), "example", "192.0.2.100:6443")


@dataclass(frozen=True, slots=True)
class _Named:
    name: str


@dataclass(frozen=True, slots=True)
class _ExampleImage:
    name: str
    version: str
    files: tuple[_Named, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _ExampleFile:
    sha256: str


def try_role(
    folder: RoleFolder,
    name: str,
    images: ImageLookup,
    payload: PayloadLookup = no_payload,
    renderer: Renderer | None = None,
) -> tuple[Compiled, list[str]]:
    """Compile the role for an example machine of a cluster of two, and one member for each role that it needs.

    Raises what ``compile`` raises. An image that is not imported and payload that was not added are no faults of
    the role: they are replaced by examples and a warning says so. ``renderer``: one for several trials, which
    its owner closes.
    """
    role = folder.get(name)
    warnings: list[str] = []
    compiler = RoleCompiler(
        folder, _or_example(role, images, warnings), renderer, lambda: _or_examples(role, payload, warnings)
    )
    machines = [_example(role, number) for number in (1, 2)]
    machines += [_example(folder.get(needed), 3 + at) for at, needed in enumerate(role.settings.needs)]
    subnet = Subnet(
        UUID(int=0),
        IPv4Network("192.0.2.0/24"),  # RFC 5737, for documentation
        gateway=IPv4Address("192.0.2.254"),
        dns=(IPv4Address("192.0.2.253"),),
        ntp=(IPv4Address("192.0.2.252"),),
        domain="example.net",
    )
    try:
        compiled = compiler.compile(machines[0], Inventory.build(machines, [subnet], clusters=[_CLUSTER]))
    finally:
        if renderer is None:
            compiler.close()
    return compiled, [*warnings, *compiled.warnings]


def _or_example(role: Role, images: ImageLookup, warnings: list[str]) -> ImageLookup:
    def lookup(name: str, version: str | None) -> Any:
        try:
            return images(name, version)
        except NotFound as error:
            warnings.append(
                f"{error.problem}; checked with an example: `provisioner image import DIR --name {name}`"
            )
            return _ExampleImage(name, version or "example", tuple(map(_Named, example_files(role))))

    return lookup


def _or_examples(role: Role, payload: PayloadLookup, warnings: list[str]) -> dict[str, PayloadEntry]:
    """What was added, and an example for each further file of the role."""
    there = dict(payload())
    for file in role.settings.payload:
        if file.path not in there:
            if not file.optional:
                warnings.append(
                    f"payload {file.path} is not there; checked with an example: "
                    f"`provisioner payload add FILE --path {file.path}`"
                )
            there[file.path] = _ExampleFile("0" * 64)
    return there


def example_files(role: Role) -> tuple[str, ...]:
    settings = role.settings
    if named := settings.boot:
        globs = (named.kernel, *named.initrd, *((named.media,) if named.media else ()))
        return tuple(dict.fromkeys(glob.replace("*", "example").replace("?", "x") for glob in globs))
    known = families(settings.format)
    return next((family for family in known if settings.image.startswith(family.name)), known[0]).example


def _example(role: Role, number: int) -> Machine:
    """A machine in documentation's own address range, with an example for each parameter that must be set."""
    here = UUID(int=number)
    given = {name: p.example for name, p in role.settings.parameters.items() if p.example is not None}
    params = {name: _EXAMPLES[p.type] for name, p in role.settings.parameters.items() if p.required} | given
    slot = Slot(here, f"example{number}", rack="r1", unit=number, role=role.name, params=params, cluster="example")
    mac = Mac(bytes((0x02, 0, 0, 0, 0, number)))
    address = Address(here, IPv4Address("192.0.2.0") + number)
    return Machine(here, slot, interfaces=(Interface(here, mac),), addresses=(address,), serial=f"EXAMPLE{number}")
