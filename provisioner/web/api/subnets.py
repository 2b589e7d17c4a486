"""Subnets: prefixes, their servers, and the policy for those who are not listed."""

from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import subnets
from provisioner.domain.option_set import show_options
from provisioner.domain.subnet import Subnet
from provisioner.web.api import edits
from provisioner.web.api.edits import IfMatch
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class SubnetOut(BaseModel):
    id: str
    prefix: str
    gateway: str | None
    dns: list[str]
    ntp: list[str]
    domain: str
    vlan: int | None
    pools: list[str]
    unknown: str
    arm: str
    lease_seconds: int
    options: dict[str, str]
    menu: str
    menu_seconds: int
    menu_password: bool
    """Is one asked for?"""
    version: int


class SubnetFields(BaseModel):
    """Left out: unchanged; null or empty: taken away."""

    model_config = ConfigDict(extra="forbid")

    gateway: str | None = None
    dns: str | list[str] | None = None
    ntp: str | list[str] | None = None
    domain: str | None = None
    vlan: int | None = None
    pools: str | list[str] | None = None
    unknown: str | None = None
    arm: str | None = None
    lease_seconds: int | None = None
    options: dict[str, str | None] | None = Field(
        default=None, description="Further DHCP options by name; the named ones change, null takes one away."
    )

    menu: str | list[str] | None = Field(
        default=None, description="Roles that a person at a machine's console may choose; empty: no menu."
    )
    menu_seconds: int | None = Field(default=None, description="How long the menu waits for a choice.")
    menu_password: str | None = Field(default=None, description="Asked for at the console; null: none.")

    def stated(self) -> dict[str, Any]:
        sent = self.model_dump(exclude_unset=True)
        sent.pop("prefix", None)
        return {key: "" if value is None else value for key, value in sent.items()}


class NewSubnet(SubnetFields):
    prefix: str


class Subnets:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 200) -> Page[SubnetOut]:
        """All subnets."""
        with self._parts.store.reading() as tx:
            found = tx.subnets.list()
        return cut(found, lambda subnet: str(subnet.prefix), after, limit, shown)

    def one(self, ref: str, response: Response) -> SubnetOut:
        """By prefix (10.12.1.0/24, the slash as it is or as %2F) or id."""
        return self._tagged(self._find(ref), response)

    def add(self, fields: NewSubnet, request: Request, response: Response) -> SubnetOut:
        """Refused when the prefix exists or overlaps another."""
        subnet = subnets.put_subnet(
            self._parts.store,
            fields.prefix,
            fields.stated(),
            actor=actor(request),
            now=self._parts.clock(),
            create=True,
            roles=self._parts.roles(),
        )
        response.headers["Location"] = f"/api/v1/subnets/{subnet.id}"
        return self._tagged(subnet, response)

    def change(
        self, ref: str, fields: SubnetFields, request: Request, response: Response, if_match: IfMatch = None
    ) -> SubnetOut:
        """Change the fields that are sent."""
        subnet = subnets.put_subnet(
            self._parts.store,
            str(self._find(ref).prefix),
            fields.stated(),
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
            roles=self._parts.roles(),
        )
        return self._tagged(subnet, response)

    def remove(self, ref: str, request: Request, if_match: IfMatch = None) -> None:
        """Refused while machines have addresses in it."""
        subnets.remove_subnet(
            self._parts.store,
            str(self._find(ref).prefix),
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
        )

    def _find(self, ref: str) -> Subnet:
        with self._parts.store.reading() as tx:
            return tx.subnets.get(ref)

    def _tagged(self, subnet: Subnet, response: Response) -> SubnetOut:
        edits.tag(response, subnet.version)
        return shown(subnet)


def shown(subnet: Subnet) -> SubnetOut:
    return SubnetOut(
        id=str(subnet.id),
        prefix=str(subnet.prefix),
        gateway=str(subnet.gateway) if subnet.gateway else None,
        dns=[str(ip) for ip in subnet.dns],
        ntp=[str(ip) for ip in subnet.ntp],
        domain=subnet.domain,
        vlan=subnet.vlan,
        pools=[f"{pool.first}-{pool.last}" for pool in subnet.pools],
        unknown=subnet.unknown,
        arm=subnet.arm,
        lease_seconds=subnet.lease_seconds,
        options=show_options(subnet.options),
        menu=subnet.menu,
        menu_seconds=subnet.menu_seconds,
        menu_password=bool(subnet.menu_password),
        version=subnet.version,
    )
