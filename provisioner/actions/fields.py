"""Values as operators type them, read into the domain's types. One reader a field; errors name it."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from provisioner.domain.errors import InvalidValue
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress
from provisioner.domain.menu import NONE
from provisioner.domain.option_set import NO_OPTIONS, OptionSet, code_of, read_options
from provisioner.domain.subnet import IPNetwork

_IPV4 = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}\Z")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
# Free text that ends up in boot scripts and kernel lines: no control characters, nothing iPXE or a shell expands.
_PLAIN = re.compile(r"[\w .,:/@+=()\[\]-]*\Z")


def host_name(value: object, field: str = "name") -> str:
    """One lower-case RFC 1123 label."""
    text = str(value).strip()
    if not _HOST_LABEL.match(text):
        first, dot, _ = text.partition(".")
        if dot and _HOST_LABEL.match(first) and not _IPV4.match(text):
            remedy = (
                f"write {first} alone; the domain is the subnet's: `provisioner subnet set PREFIX --domain NAME`"
            )
            raise InvalidValue(field, text, "has a domain in it", remedy)
    return label(text, field, "a host name", "node-17")


def label(value: object, field: str, kind: str, example: str) -> str:
    """1 to 63 lower-case letters, digits and inner hyphens: what every kind of name here is made of."""
    text = str(value).strip()
    if not _HOST_LABEL.match(text):
        rule = f"use 1 to 63 lower-case letters, digits and hyphens, like {example}"
        meant = re.sub(r"[\s_]+", "-", text.lower())
        remedy = f"did you mean {meant}? {rule}" if _HOST_LABEL.match(meant) else rule
        raise InvalidValue(field, text, f"is not {kind}", remedy)
    return text


def plain(value: object, field: str) -> str:
    """Free text without characters that could escape into a script."""
    text = str(value).strip()
    if len(text) > 200 or not _PLAIN.match(text):
        raise InvalidValue(
            field,
            text[:60],
            "has characters that are not allowed here",
            "use letters, digits and . , : / @ + = ( ) -",
        )
    return text


def switch_port(value: object) -> str:
    """A port as relays name it: printable ASCII (RFC 3046: remote-id, then circuit-id)."""
    text = " ".join(str(value or "").split())
    if len(text) > 200 or not text.isascii() or not text.isprintable():
        raise InvalidValue(
            "switch_port", text[:60], "is no switch port", "write it as `machine show` tells it, like 'sw3 17'"
        )
    return text


def menu(value: object, roles: frozenset[str] | None) -> str:
    """Role names by ``;`` or as a list, each once; ``none`` stands alone. ``roles`` None: any names."""
    names = _parts(value)
    for name in names:
        if name == NONE and len(names) > 1:
            raise InvalidValue("menu", ";".join(names)[:60], "says none and more", "name roles, or none alone")
        if not _HOST_LABEL.match(name) or (roles is not None and name not in roles and name != NONE):
            known = f"; roles: {', '.join(sorted(roles)) or 'none'}" if roles is not None else ""
            raise InvalidValue("menu", name[:60], "is no role", f"name roles like rescue;memtest{known}")
        if names.count(name) > 1:
            raise InvalidValue("menu", name, "is named twice", "name each role once")
    return ";".join(names)


def whole(value: object, field: str, low: int = 0, high: int = 100_000) -> int | None:
    """A whole number, or None for an empty value."""
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise InvalidValue(field, value, "is not a whole number in range", f"give {low} to {high}")
    return number


def seconds(value: object, field: str) -> float:
    """``5``, ``5s``, ``2m`` or ``1h`` in seconds."""
    found = re.match(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smh]?)\Z", str(value).strip())
    if found is None:
        raise InvalidValue(field, value, "is no time", "write it like 5s, 2m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def macs(value: object) -> tuple[Mac, ...]:
    """MACs, ``;``-separated or a list, boot NIC first."""
    parts = _parts(value)
    for text in parts:
        if "," in text:
            raise InvalidValue(
                "mac", text, "has a comma in it", "separate several MACs by ';', the boot NIC's first"
            )
    read = tuple(Mac.parse(text) for text in parts)
    for mac in read:
        if read.count(mac) > 1:
            raise InvalidValue("mac", mac, "is given twice", "name each network card once")
    return read


def address(value: object, field: str = "ip") -> IPAddress:
    """One IP address."""
    text = str(value).strip()
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidValue(field, text, "is not an IP address", _address_remedy(text)) from None


def _address_remedy(text: str) -> str:
    """What somebody meant who wrote this for an address."""
    for slip, meant in (
        ("without the prefix length, which is the subnet's", text.partition("/")[0]),
        ("without leading zeros", re.sub(r"\b0+(?=\d)", "", text)),
    ):
        if meant != text and _IPV4.match(meant):
            return f"write it {slip}: {meant}"
    return "write it like 10.12.1.17"


def bmc_address(value: object, field: str = "address") -> IPAddress:
    """An address that may be a BMC's; one of the appliance's own is refused when it is asked."""
    ip = address(value, field)
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise InvalidValue(field, ip, "cannot be a BMC's", "give the address the BMC has on its network")
    return ip


def addresses(value: object) -> tuple[IPAddress | None, ...]:
    """IPs by position of the MACs; an empty place means that this NIC has none."""
    if value is None:
        return ()
    texts = value if isinstance(value, list | tuple) else str(value).split(";")
    for text in map(str, texts):
        if "," in text:
            raise InvalidValue("ip", text, "has a comma in it", "separate several by ';', in the order of the MACs")
    read = tuple(address(text) if str(text).strip() else None for text in texts)
    while read and read[-1] is None:
        read = read[:-1]
    return read


_SPECIAL: tuple[tuple[Callable[[IPAddress], bool], str], ...] = (
    (lambda ip: ip.is_unspecified, "the address of nobody"),
    (lambda ip: ip.is_link_local, "a link-local address"),
    (lambda ip: ip.is_multicast, "a multicast address"),
    (lambda ip: ip.is_reserved, "a reserved address"),
)
"""Addresses that belong to no host, by their use (RFC 6890)."""


def usable(ip: IPAddress, inventory: Inventory, ours: Collection[IPAddress] = (), field: str = "ip") -> None:
    """Refuse what no host can hold, or no host of a known subnet. ``ours``: the appliance's addresses."""
    for is_special, kind in _SPECIAL:
        if is_special(ip):
            raise InvalidValue(field, ip, f"is {kind}, no host's", "give the address it has on its network")
    if ip in ours:
        raise InvalidValue(field, ip, "is the appliance's own", "choose another address")
    subnet = inventory.subnet_of(ip)
    if subnet is None:
        return
    edges = (subnet.prefix.network_address, subnet.prefix.broadcast_address)
    if isinstance(subnet.prefix, IPv4Network) and subnet.prefix.prefixlen < 31 and ip in edges:
        raise InvalidValue(
            field, ip, f"is the network or broadcast address of {subnet.prefix}", "choose a host address"
        )
    if ip == subnet.gateway:
        raise InvalidValue(field, ip, f"is the gateway of {subnet.prefix}", "choose another address")
    if any(ip in pool for pool in subnet.pools):
        raise InvalidValue(
            field, ip, f"lies in a dynamic pool of {subnet.prefix}", "choose one outside, or move the pool"
        )


def prefix(value: object, field: str = "prefix") -> IPNetwork:
    """A network like 10.12.1.0/24, host bits zero."""
    text = str(value).strip()
    try:
        return ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise InvalidValue(field, text, "is not a network", "write it like 10.12.1.0/24") from None
        raise InvalidValue(field, text, "has host bits set", f"did you mean {meant}?") from None


def labels(value: object) -> dict[str, str]:
    """``k=v;k2=v2`` or a mapping."""
    if value is None or value == "":
        return {}
    if isinstance(value, Mapping):
        pairs = [(str(key), str(text)) for key, text in value.items()]
    else:
        pairs = []
        for part in _parts(value):
            key, equals, text = part.partition("=")
            if not equals:
                raise InvalidValue("labels", part, "has no '='", "write labels like site=zh;owner=ops")
            pairs.append((key, text))
    return {plain(key, "labels"): plain(text, "labels") for key, text in pairs}


def params(value: object) -> dict[str, Any]:
    """Role parameters: a mapping, or its JSON."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidValue("params", value, "is not JSON", 'write it like {"disk": "/dev/sda"}') from None
    if not isinstance(value, Mapping):
        raise InvalidValue("params", value, "is not a mapping", 'write it like {"disk": "/dev/sda"}')
    return {str(key): item for key, item in value.items()}


def options(value: object, before: OptionSet) -> OptionSet:
    """A DHCP option set after an edit: named ones change, an empty value takes one away, an empty set all.

    ``NAME=VALUE`` texts, a mapping, or its JSON.
    """
    if value is None or value == "":
        return NO_OPTIONS
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InvalidValue("options", value, "is not JSON", 'write it like {"mtu": "9000"}') from None
    if isinstance(value, list | tuple):
        pairs = [str(text).partition("=") for text in value]
        for name, equals, _ in pairs:
            if not equals:
                raise InvalidValue("option", name, "has no '='", "write it like mtu=9000; `mtu=` takes it away")
        value = {name: text for name, _, text in pairs}
    if not isinstance(value, Mapping):
        raise InvalidValue("options", value, "is not a mapping", 'write it like {"mtu": "9000"}')
    if not value:
        return NO_OPTIONS
    after = dict(before)
    for name in (str(name).strip().lower() for name, text in value.items() if text in (None, "")):
        after.pop(code_of(name), None)
    after |= read_options({name: text for name, text in value.items() if text not in (None, "")})
    return after


def _parts(value: object) -> list[str]:
    if value is None:
        return []
    texts = value if isinstance(value, list | tuple) else str(value).split(";")
    return [str(text).strip() for text in texts if str(text).strip()]
