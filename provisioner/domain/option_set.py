"""DHCP options that operators state for a subnet, a role or a machine: read and checked once, at the door.

A set maps option codes to encoded values. People write it as ``NAME=VALUE`` (``mtu=9000``) and see it so again;
an option without a name here is written as its number (``224=hex:0a0b``). RFC 2132 unless a line says otherwise.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from struct import pack

from provisioner.domain.errors import InvalidValue

OptionSet = Mapping[int, bytes]
NO_OPTIONS: OptionSet = {}

ROUTER, DNS, DOMAIN, NTP = 3, 6, 15, 42
CLASSLESS_ROUTES = 121
"""RFC 3442."""
MS_CLASSLESS_ROUTES = 249
"""The same for Windows before 2008, which asks for no other."""

_MOST_BYTES = 1024
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_NOT_TO_STATE: Mapping[int, str] = {
    1: "the mask follows from the subnet's prefix",
    12: "the host name is the machine's name",
    13: "EDK2 sizes its buffer by it; leave it out",
    28: "the broadcast address follows from the subnet's prefix",
    51: "`provisioner subnet set PREFIX --lease-seconds N` sets the lease time",
    66: "the appliance names itself as the boot server",
    67: "the boot file follows from the firmware and the machine's state",
    93: "only clients send it",
    94: "only clients send it",
    97: "only clients send it",
    175: "it is iPXE's own, and the appliance writes it",
    **dict.fromkeys((50, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 77, 82), "the protocol itself writes it"),
}


@dataclass(frozen=True, slots=True)
class _Known:
    code: int
    example: str
    read: Callable[[str], bytes]
    """Raises ValueError, saying what is wrong."""
    show: Callable[[bytes], str]


def read_options(given: Mapping[str, object], field: str = "option") -> dict[int, bytes]:
    """The set that these names and values state. Raises InvalidValue with what would be right."""
    options: dict[int, bytes] = {}
    for name, value in given.items():
        code, encoded = _read(str(name).strip().lower(), str(value).strip(), field)
        if code in options:
            raise InvalidValue(field, name, f"states option {code} a second time", "state it once")
        options[code] = encoded
    return options


def code_of(name: str, field: str = "option") -> int:
    """The code of a named or numbered option that may be stated. Raises InvalidValue."""
    known = _KNOWN.get(name)
    if known is not None:
        return known.code
    if not re.fullmatch(r"[0-9]{1,3}", name) or not 0 < int(name) < 255:
        names = ", ".join(_KNOWN)
        raise InvalidValue(
            field, name, "is no DHCP option", f"use one of {names}, or a number from 1 to 254 like 224=hex:0a0b"
        )
    code = int(name)
    if code in _NOT_TO_STATE:
        raise InvalidValue(field, name, f"cannot be stated: {_NOT_TO_STATE[code]}", "leave it out")
    return code


def show_options(options: OptionSet) -> dict[str, str]:
    """The set as people write it: ``read_options`` of this is the same set."""
    shown = {}
    for code, value in sorted(options.items()):
        name = next((name for name, known in _KNOWN.items() if known.code == code), "")
        try:
            shown[name or str(code)] = _KNOWN[name].show(value) if name else f"hex:{value.hex()}"
        except ValueError:
            # Written by an older version or by hand in the database: shown as it is.
            shown[str(code)] = f"hex:{value.hex()}"
    return shown


def routes_of(value: bytes) -> list[tuple[IPv4Network, IPv4Address]]:
    """Option 121's routes (RFC 3442). Raises ValueError for a value that is cut short."""
    routes, at = [], 0
    while at < len(value):
        length = value[at]
        octets = (length + 7) // 8
        destination, router = value[at + 1 : at + 1 + octets], value[at + 1 + octets : at + 5 + octets]
        if length > 32 or len(router) != 4:
            raise ValueError("is no list of routes")
        network = IPv4Network((int.from_bytes(destination.ljust(4, b"\0"), "big"), length), strict=False)
        routes.append((network, IPv4Address(router)))
        at += 5 + octets
    return routes


def write_route(network: IPv4Network, router: IPv4Address) -> bytes:
    """One route of option 121: the prefix' significant octets only."""
    octets = (network.prefixlen + 7) // 8
    return bytes((network.prefixlen,)) + network.network_address.packed[:octets] + router.packed


def _read(name: str, text: str, field: str) -> tuple[int, bytes]:
    code = code_of(name, field)
    known = _BY_CODE.get(code)
    raw = re.match(r"(hex|text|ip):", text)
    example = known.example if known is not None and not raw else f"{name}=hex:0a0b, text:WORDS or ip:10.12.1.4"
    try:
        encoded = _raw(raw[1], text[raw.end() :]) if raw else _named(known, text)
        if known is not None:
            # However it was written: what comes out is a value of this option.
            known.show(encoded)
        _sized(encoded)
    except ValueError as error:
        raise InvalidValue(field, f"{name}={text}"[:120], str(error), f"write it like {example}") from None
    return code, encoded


def _named(known: _Known | None, text: str) -> bytes:
    if known is None:
        raise ValueError("does not say what kind of value it is")
    return known.read(text)


def _sized(value: bytes) -> None:
    if not 0 < len(value) <= _MOST_BYTES:
        raise ValueError(f"has {len(value)} bytes; 1 to {_MOST_BYTES} fit")


def _raw(kind: str, text: str) -> bytes:
    if kind == "ip":
        return _addresses(text)
    if kind == "text":
        return _text(text)
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raise ValueError("is not hexadecimal") from None


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,;\s]+", text) if word]


def _address(text: str) -> IPv4Address:
    try:
        address = IPv4Address(text.strip())
    except ValueError:
        raise ValueError(f"has {text.strip()!r}, which is no IPv4 address") from None
    return address


def _addresses(text: str) -> bytes:
    if not (words := _words(text)):
        raise ValueError("names no address")
    return b"".join(_address(word).packed for word in words)


def _show_addresses(value: bytes) -> str:
    if not value or len(value) % 4:
        raise ValueError("is no list of addresses")
    return ", ".join(str(IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4))


def _text(text: str) -> bytes:
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("is empty or has characters that are not printable ASCII")
    return text.encode()


def _show_text(value: bytes) -> str:
    text = value.decode("ascii")
    if not text.isprintable():
        raise ValueError("is no text")
    return text


def _labels(name: str) -> list[bytes]:
    labels = name.rstrip(".").split(".")
    if len(name) > 253 or not all(_LABEL.match(label) for label in labels):
        raise ValueError(f"has {name!r}, which is no domain name")
    return [label.encode() for label in labels]


def _domain(text: str) -> bytes:
    return b".".join(_labels(text))


def _domains(text: str) -> bytes:
    """RFC 3397: names as DNS writes them; compression is allowed there and left out, so that any reader can."""
    if not (words := _words(text)):
        raise ValueError("names no domain")
    return b"".join(b"".join(bytes((len(l),)) + l for l in _labels(word)) + b"\0" for word in words)  # noqa: E741


def _show_domains(value: bytes) -> str:
    names: list[str] = []
    labels: list[str] = []
    at = 0
    while at < len(value):
        length = value[at]
        label = value[at + 1 : at + 1 + length]
        if length > 63 or len(label) != length:
            raise ValueError("is no list of domain names without compression")
        at += 1 + length
        if length:
            labels.append(label.decode("ascii"))
        elif labels:
            names.append(".".join(labels))
            labels = []
        else:
            raise ValueError("has an empty domain name")
    if labels or not names:
        raise ValueError("is cut short within a domain name")
    return ", ".join(names)


def _mtu(text: str) -> bytes:
    # RFC 2132 allows 68; below 576 no DHCP message would fit any more.
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 576 <= int(text) <= 65535:
        raise ValueError("is no MTU from 576 to 65535")
    return pack("!H", int(text))


def _show_mtu(value: bytes) -> str:
    if len(value) != 2:
        raise ValueError("is no 16-bit number")
    return str(int.from_bytes(value, "big"))


def _routes(text: str) -> bytes:
    routes: dict[IPv4Network, IPv4Address] = {}
    for part in re.split(r"[,;]", text):
        found = re.fullmatch(r"\s*(\S+)\s+via\s+(\S+)\s*", part)
        if found is None:
            raise ValueError(f"has {part.strip()!r}, which is no route")
        wanted = "0.0.0.0/0" if found[1] == "default" else found[1]
        try:
            network = IPv4Network(wanted)
        except ValueError as error:
            raise ValueError(f"has the route {wanted!r}: {error}") from None
        if network in routes:
            raise ValueError(f"has the route {network} twice")
        routes[network] = _address(found[2])
    return b"".join(write_route(network, router) for network, router in routes.items())


def _show_routes(value: bytes) -> str:
    return ", ".join(f"{network} via {router}" for network, router in routes_of(value))


def _suboptions(text: str) -> bytes:
    written = b""
    for part in re.split(r"[,;]", text):
        found = re.fullmatch(r"\s*([0-9]{1,3})\s*=\s*(?:(hex|text|ip):)?(.*?)\s*", part)
        if found is None or not 0 < int(found[1]) < 255:
            raise ValueError(f"has {part.strip()!r}, which is no sub-option")
        value = _raw(found[2] or "hex", found[3])
        if len(value) > 255:
            raise ValueError(f"has {len(value)} bytes in sub-option {found[1]}; 255 fit")
        written += bytes((int(found[1]), len(value))) + value
    return written


def _show_suboptions(value: bytes) -> str:
    shown, at = [], 0
    while at < len(value):
        part = value[at + 2 : at + 2 + value[at + 1]] if at + 1 < len(value) else None
        if part is None or len(part) != value[at + 1] or value[at] in (0, 255):
            raise ValueError("is no list of sub-options")
        shown.append(f"{value[at]}=hex:{part.hex()}")
        at += 2 + len(part)
    return ", ".join(shown)


_ADDRESSES = (_addresses, _show_addresses)
_KNOWN: Mapping[str, _Known] = {
    "router": _Known(ROUTER, "router=10.12.1.1", *_ADDRESSES),
    "dns": _Known(DNS, "dns=10.12.1.2,10.12.1.3", *_ADDRESSES),
    "log-servers": _Known(7, "log-servers=10.12.1.5", *_ADDRESSES),
    "domain": _Known(DOMAIN, "domain=rack.example", _domain, _show_text),
    "mtu": _Known(26, "mtu=9000", _mtu, _show_mtu),
    "ntp": _Known(NTP, "ntp=10.12.1.4", *_ADDRESSES),
    "vendor": _Known(43, "vendor=1=hex:0a0b,2=text:WORDS,3=ip:10.12.1.4", _suboptions, _show_suboptions),
    # RFC 4833
    "time-zone": _Known(101, "time-zone=Europe/Zurich", _text, _show_text),
    # RFC 3397
    "domain-search": _Known(119, "domain-search=rack.example,example", _domains, _show_domains),
    "classless-routes": _Known(
        CLASSLESS_ROUTES,
        "classless-routes=10.0.0.0/8 via 10.12.1.1, default via 10.12.1.254",
        _routes,
        _show_routes,
    ),
}
_BY_CODE = {known.code: known for known in _KNOWN.values()}
