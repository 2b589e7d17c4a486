"""A subnet: its addressing, and the policy for those who are not listed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from uuid import UUID

from provisioner.domain.machine import IPAddress

IPNetwork = IPv4Network | IPv6Network


class UnknownPolicy(StrEnum):
    """What a MAC that is in no inventory gets."""

    IGNORE = "ignore"
    ADDRESS = "address"
    ENROL = "enrol"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Inclusive range of dynamic addresses."""

    first: IPAddress
    last: IPAddress

    def __contains__(self, ip: object) -> bool:
        return isinstance(ip, type(self.first)) and int(self.first) <= int(ip) <= int(self.last)


@dataclass(frozen=True, slots=True)
class Subnet:
    """One prefix. ``arm`` is 'manual' or 'on-discovery'."""

    id: UUID
    prefix: IPNetwork
    gateway: IPAddress | None = None
    dns: tuple[IPAddress, ...] = ()
    ntp: tuple[IPAddress, ...] = ()
    domain: str = ""
    vlan: int | None = None
    pools: tuple[AddressRange, ...] = ()
    unknown: UnknownPolicy = UnknownPolicy.IGNORE
    arm: str = "manual"
    lease_seconds: int = 3600
    options: Mapping[int, bytes] = field(default_factory=dict)
    """Further DHCP options by code, already encoded."""
    menu: str = ""
    """Roles that a person at the console of a machine here may choose, separated by ``;``; empty: no menu."""
    menu_seconds: int = 10
    """How long the menu waits for a choice."""
    menu_password: str = field(default="", repr=False)
    """Hash of the menu's password (argon2); empty: none is asked for."""
    version: int = 0
