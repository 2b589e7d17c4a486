"""Machines, subnets and images for the tests of what a machine is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

from provisioner.boot.compile import RoleCompiler
from provisioner.boot.roles import RoleFolder
from provisioner.domain.errors import NotFound
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, Machine, Slot
from provisioner.domain.subnet import Subnet

SHIPPED = Path(__file__).parents[2] / "cloud_configs"

SUBNET = Subnet(
    UUID(int=1000),
    IPv4Network("10.12.1.0/24"),
    gateway=IPv4Address("10.12.1.254"),
    dns=(IPv4Address("10.12.1.253"), IPv4Address("10.12.1.252")),
    ntp=(IPv4Address("10.12.1.251"),),
    domain="rack.example",
)


@dataclass(frozen=True)
class File:
    name: str


@dataclass(frozen=True)
class Image:
    name: str
    version: str
    files: tuple[File, ...]
    problems: tuple[str, ...] = ()


FLATCAR = Image(
    "flatcar",
    "3815.2.0",
    tuple(File(f"flatcar_production_{rest}") for rest in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2")),
)


def images(name: str, version: str | None) -> Image:
    if name != "flatcar" or version not in (None, FLATCAR.version):
        raise NotFound("image", name)
    return FLATCAR


def machine(
    number: int,
    role: str = "simple",
    *,
    name: str = "",
    cluster: str = "",
    params: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    serial: str = "",
    address: bool = True,
) -> Machine:
    here = UUID(int=number)
    slot = Slot(here, name or f"node{number}", role=role, cluster=cluster, params=params or {}, unit=number)
    return Machine(
        here,
        slot,
        interfaces=(Interface(here, Mac(bytes((0x52, 0x54, 0, 0x12, 0x34, number)))),),
        addresses=(Address(here, IPv4Address("10.12.1.0") + number),) if address else (),
        labels=labels or {},
        serial=serial,
    )


def inventory(*machines: Machine, subnet: Subnet | None = SUBNET) -> Inventory:
    return Inventory.build(machines, [subnet] if subnet else [])


def compiler(folder: Path = SHIPPED) -> RoleCompiler:
    return RoleCompiler(RoleFolder(folder), images)
