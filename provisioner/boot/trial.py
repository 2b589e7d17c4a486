"""A role tried on an example machine, so that its faults show before anybody arms one."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

from provisioner.boot.compile import Compiled, ImageLookup, RoleCompiler
from provisioner.boot.release import FAMILIES
from provisioner.boot.roles import Role, RoleFolder
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


@dataclass(frozen=True, slots=True)
class _Named:
    name: str


@dataclass(frozen=True, slots=True)
class _ExampleImage:
    name: str
    version: str
    files: tuple[_Named, ...]
    problems: tuple[str, ...] = ()


def try_role(folder: RoleFolder, name: str, images: ImageLookup) -> tuple[Compiled, list[str]]:
    """Compile the role for an example machine of a cluster of two. Raises what ``compile`` raises.

    An image that is not imported is no fault of the role: it is replaced by an example and a warning says so.
    """
    role = folder.get(name)
    warnings: list[str] = []
    compiler = RoleCompiler(folder, _or_example(images, warnings))
    machines = [_example(role, number) for number in (1, 2)]
    subnet = Subnet(
        UUID(int=0),
        IPv4Network("192.0.2.0/24"),  # RFC 5737, for documentation
        gateway=IPv4Address("192.0.2.254"),
        dns=(IPv4Address("192.0.2.253"),),
        ntp=(IPv4Address("192.0.2.252"),),
        domain="example.net",
    )
    try:
        compiled = compiler.compile(machines[0], Inventory.build(machines, [subnet]))
    finally:
        compiler.close()
    return compiled, [*warnings, *compiled.warnings]


def _or_example(images: ImageLookup, warnings: list[str]) -> ImageLookup:
    def lookup(name: str, version: str | None) -> Any:
        try:
            return images(name, version)
        except NotFound as error:
            warnings.append(
                f"{error.problem}; checked with an example: `provisioner image import DIR --name {name}`"
            )
            family = next((family for family in FAMILIES if name.startswith(family.name)), FAMILIES[0])
            files = tuple(map(_Named, family.example))
            return _ExampleImage(name, version or "example", files)

    return lookup


def _example(role: Role, number: int) -> Machine:
    """A machine in documentation's own address range, with an example for each parameter that must be set."""
    here = UUID(int=number)
    params = {name: _EXAMPLES[p.type] for name, p in role.settings.parameters.items() if p.required}
    slot = Slot(here, f"example{number}", rack="r1", unit=number, role=role.name, params=params, cluster="example")
    mac = Mac(bytes((0x02, 0, 0, 0, 0, number)))
    address = Address(here, IPv4Address("192.0.2.0") + number)
    return Machine(here, slot, interfaces=(Interface(here, mac),), addresses=(address,), serial=f"EXAMPLE{number}")
