"""Machines and subnets for tests, with the values that the docs use."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address
from typing import Any
from uuid import UUID, uuid4

from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Install, Interface, Machine, Slot, State
from provisioner.domain.subnet import Subnet, UnknownPolicy

NOW = 1_800_000_000_000_000
HOUR = 3600 * 1_000_000


def machine(
    name: str = "node-01", mac: str = "52:54:00:12:34:56", ip: str = "10.12.1.17", **changes: Any
) -> Machine:
    """A ready machine with one NIC, role ``simple``."""
    slot = Slot(uuid4(), name, role=changes.pop("role", "simple"), cluster=changes.pop("cluster", ""))
    made = Machine(
        id=uuid4(),
        slot=slot,
        state=State.READY,
        interfaces=(Interface(uuid4(), Mac.parse(mac)),),
        addresses=(Address(uuid4(), ip_address(ip)),) if ip else (),
    )
    return replace(made, **changes)


def install(**changes: Any) -> Install:
    """An open install armed at NOW for an hour."""
    made = Install(id=UUID(int=1), role="simple", revision="r1", token_hash="t", armed_at=NOW, deadline=NOW + HOUR)
    return replace(made, **changes)


def subnet(prefix: str = "10.12.1.0/24", unknown: UnknownPolicy = UnknownPolicy.IGNORE) -> Subnet:
    return Subnet(uuid4(), IPv4Network(prefix), gateway=ip_address(str(IPv4Network(prefix)[1])), unknown=unknown)
