"""Subnets into and out of the inventory."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.actions import passwords
from provisioner.domain import menu
from provisioner.domain.errors import Conflict, InUse, InvalidValue, Overlaps, Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import IPAddress
from provisioner.domain.option_set import (
    CLASSLESS_ROUTES,
    DNS,
    DOMAIN,
    NTP,
    ROUTER,
    OptionSet,
    routes_of,
    show_options,
)
from provisioner.domain.ports import Store, Transaction
from provisioner.domain.subnet import AddressRange, IPNetwork, Subnet, UnknownPolicy

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"
)

FIELDS = (
    "gateway",
    "dns",
    "ntp",
    "domain",
    "vlan",
    "pools",
    "unknown",
    "arm",
    "lease_seconds",
    "options",
    "menu",
    "menu_seconds",
    "menu_password",
)


def put_subnet(
    store: Store,
    prefix: str,
    fields: Mapping[str, Any],
    *,
    actor: str,
    now: int,
    expect_version: int | None = None,
    create: bool = False,
    roles: frozenset[str] | None = None,
) -> Subnet:
    """Add a subnet, or set the named fields of one. ``create`` refuses one that exists; a menu names ``roles``."""
    network = read.prefix(prefix)
    _can_have_hosts(network, prefix)
    with store.transaction(actor) as tx:
        before = tx.subnets.find(str(network))
        if before is not None and create:
            raise Conflict("prefix", network, "a subnet of this inventory", f"`provisioner subnet set {network}`")
        for other in tx.subnets.list():
            if (
                other.prefix != network
                and other.prefix.version == network.version
                and other.prefix.overlaps(network)
            ):
                remedy = f"use that one, or `provisioner subnet remove {other.prefix}` first"
                raise Overlaps("prefix", network, f"the subnet {other.prefix}", remedy)
        after = _with_fields(before or Subnet(uuid4(), network), fields, roles)
        if after == before:
            return after
        if before is None or (before.gateway, before.pools) != (after.gateway, after.pools):
            _refuse_held(tx, after)
        stored = tx.subnets.put(after, expect_version)
        verb = "added" if before is None else "changed"
        tx.events.add(Event(Kind.SUBNET_CHANGED, f"{verb} subnet {network}: {describe(stored)}", now, actor=actor))
        return stored


def remove_subnet(store: Store, prefix: str, *, actor: str, now: int, expect_version: int | None = None) -> None:
    """Forget a subnet. Refused while machines have addresses in it. Raises StaleEdit."""
    network = read.prefix(prefix)
    with store.transaction(actor) as tx:
        subnet = tx.subnets.get(str(network))
        if expect_version is not None:
            tx.subnets.put(subnet, expect_version)
        for place in tx.slots.list():
            for address in place.addresses:
                if address.ip in network:
                    holder = f"{'machine' if place.machine_id else 'slot'} {place.name} ({address.ip})"
                    raise InUse("subnet", network, holder, "give what has addresses in it others first")
        tx.subnets.remove(subnet.id)
        tx.events.add(Event(Kind.SUBNET_CHANGED, f"removed subnet {network}", now, actor=actor))


def describe(subnet: Subnet) -> str:
    """What matters of a subnet in one line."""
    dns = ", ".join(str(ip) for ip in subnet.dns)
    pools = "".join(f", pool {pool.first}-{pool.last}" for pool in subnet.pools)
    options = "".join(f", option {name} {text}" for name, text in show_options(subnet.options).items())
    unknown = f"unknown machines: {subnet.unknown}"
    offered = f", boot menu {subnet.menu}" + (" (password)" if subnet.menu_password else "") if subnet.menu else ""
    return f"gateway {subnet.gateway or 'none'}, DNS {dns or 'none'}, {unknown}{pools}{options}{offered}"


def _refuse_held(tx: Transaction, subnet: Subnet) -> None:
    """Raises Refused when a machine or slot has what no host of the subnet may hold: both would answer to it."""
    within = Inventory.build((), (subnet,))
    for place in tx.slots.list():
        for address in place.addresses:
            if address.ip not in subnet.prefix:
                continue
            try:
                read.usable(address.ip, within, tx.ours)
            except InvalidValue as unusable:
                kind = "machine" if place.machine_id else "slot"
                raise Refused(
                    f"{kind} {place.name} has {address.ip}, which {unusable.why}",
                    f"give {place.name} another address first, or the subnet other values",
                ) from None


def _with_fields(subnet: Subnet, fields: Mapping[str, Any], roles: frozenset[str] | None) -> Subnet:
    for field in fields:
        if field not in FIELDS:
            raise InvalidValue("field", field, "is not known", f"known fields: {', '.join(FIELDS)}")
    changes: dict[str, Any] = {}
    if "gateway" in fields:
        gateway = fields["gateway"]
        changes["gateway"] = _host_in(subnet.prefix, gateway, "gateway") if gateway else None
    for field in ("dns", "ntp"):
        if field in fields:
            changes[field] = tuple(read.address(text, field) for text in _listed(fields[field]))
    if "domain" in fields:
        changes["domain"] = _domain(fields["domain"])
    if "vlan" in fields:
        changes["vlan"] = read.whole(fields["vlan"], "vlan", 1, 4094)
    if "lease_seconds" in fields:
        seconds = read.whole(fields["lease_seconds"], "lease_seconds", 60, 30 * 86400)
        changes["lease_seconds"] = 3600 if seconds is None else seconds
    if "pools" in fields:
        changes["pools"] = _pools(subnet.prefix, _listed(fields["pools"]))
    if "unknown" in fields:
        changes["unknown"] = UnknownPolicy(_choice(fields["unknown"], "unknown", tuple(UnknownPolicy)))
    if "arm" in fields:
        changes["arm"] = _choice(fields["arm"], "arm", ("manual", "on-discovery"))
    if "options" in fields:
        changes["options"] = _options(subnet, fields["options"])
    changes |= _menu(fields, roles)
    return replace(subnet, **changes)


def _menu(fields: Mapping[str, Any], roles: frozenset[str] | None) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "menu" in fields:
        changes["menu"] = read.menu(fields["menu"], roles)
    if "menu_seconds" in fields:
        changes["menu_seconds"] = read.whole(fields["menu_seconds"], "menu_seconds", 3, 3600) or menu.SECONDS
    if "menu_password" in fields:
        password = str(fields["menu_password"] or "")
        changes["menu_password"] = passwords.hashed(password) if password else ""
    return changes


_OWN_FIELDS = {ROUTER: "gateway", DNS: "dns", NTP: "ntp", DOMAIN: "domain"}


def _options(subnet: Subnet, value: Any) -> OptionSet:
    after = read.options(value, subnet.options)
    for code, own in _OWN_FIELDS.items():
        if code in after:
            stated = show_options({code: after[code]})
            name, text = next(iter(stated.items()))
            why = f"has a field of its own in a subnet, {own}"
            raise InvalidValue("option", f"{name}={text}", why, f"use --{own}; a role or machine may state {name}")
    for route, router in routes_of(after.get(CLASSLESS_ROUTES, b"")):
        if router not in subnet.prefix and int(router):
            raise InvalidValue(
                "option",
                f"classless-routes={route} via {router}",
                f"cannot be used: {router} is not in {subnet.prefix}",
                "name a router of this subnet, or 0.0.0.0 for a network on the same wire",
            )
    return after


def _can_have_hosts(network: IPNetwork, text: str) -> None:
    """Refuse a prefix that no rack's network can have, before it stands in the way of a right one."""
    if network.num_addresses == 1:
        why = "names a single address" if "/" in text else "has no length"
        raise InvalidValue("prefix", text, why, "write the network with its length, like 10.12.1.0/24")
    if network.is_loopback or network.is_multicast or network.is_link_local or network.prefixlen == 0:
        raise InvalidValue("prefix", text, "cannot be a network of machines", "write one like 10.12.1.0/24")


def _listed(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return (
        [str(item) for item in value]
        if isinstance(value, list | tuple)
        else str(value).replace(",", ";").split(";")
    )


def _choice(value: Any, field: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise InvalidValue(field, value, "is not a choice", f"choose one of {', '.join(choices)}")
    return str(value)


def _host_in(prefix: IPNetwork, value: Any, field: str) -> IPAddress:
    ip = read.address(value, field)
    if ip not in prefix:
        raise InvalidValue(field, ip, f"is not in {prefix}", "give an address of this subnet")
    if prefix.version == 4 and prefix.prefixlen < 31 and ip in (prefix.network_address, prefix.broadcast_address):
        raise InvalidValue(field, ip, f"is the network or broadcast address of {prefix}", "choose a host address")
    return ip


def _domain(value: Any) -> str:
    """A DNS domain in lower case, or '' (RFC 1123, part 2.1)."""
    text = str(value or "").strip().lower().removesuffix(".")
    if text and not _DOMAIN.match(text):
        raise InvalidValue("domain", str(value), "is not a domain name", "write it like rack1.example.org")
    return text


def _pools(prefix: IPNetwork, texts: list[str]) -> tuple[AddressRange, ...]:
    pools = tuple(_range(prefix, text) for text in texts)
    for index, pool in enumerate(pools):
        for text, other in zip(texts, pools[:index], strict=False):
            if int(pool.first) <= int(other.last) and int(other.first) <= int(pool.last):
                raise InvalidValue("pools", texts[index], f"overlaps {text}", "name each address once")
    return pools


def _range(prefix: IPNetwork, text: str) -> AddressRange:
    first, dash, last = text.partition("-")
    if not dash:
        raise InvalidValue("pools", text, "is not a range", "write it like 10.12.1.200-10.12.1.250")
    if last.strip().isdigit():
        whole = f"{first.strip().rpartition('.')[0]}.{last.strip()}"
        raise InvalidValue("pools", text, "ends in half an address", f"write both in full: {first.strip()}-{whole}")
    found = AddressRange(_host_in(prefix, first.strip(), "pools"), _host_in(prefix, last.strip(), "pools"))
    if int(found.first) > int(found.last):
        raise InvalidValue("pools", text, "runs backwards", "put the lower address first")
    return found
