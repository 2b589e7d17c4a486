"""Which addresses may be a BMC's: the appliance must not be talked into calling itself (threat-05, SSRF).

Checked when a BMC is added and again before every call, because what is "own" changes.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from provisioner.domain.errors import BmcError, InvalidValue

_REMEDY = "give the address of the BMC's own network port, like 10.12.0.17"


def check_bmc_address(
    text: str, field: str = "address", *, allow_loopback: bool = False
) -> IPv4Address | IPv6Address:
    """An IP literal that can be a BMC. Raises InvalidValue for names, decimal spellings, loopback, link-local,
    multicast, reserved and broadcast addresses, and for addresses of this host.

    ``allow_loopback`` is for tests only.
    """
    try:
        address = ip_address(text.strip())
    except ValueError:
        raise InvalidValue(field, text, "is not an IP address (names are not looked up)", _REMEDY) from None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            raise InvalidValue(field, text, "has a zone index; link-local addresses are not BMCs", _REMEDY)
        # ::ffff:127.0.0.1 reaches 127.0.0.1: judge what it leads to.
        address = address.ipv4_mapped or address
    if address.is_loopback:
        if allow_loopback:
            return address
        raise InvalidValue(field, text, "is this host itself (loopback)", _REMEDY)
    for wrong, why in (
        (address.is_unspecified, "is the unspecified address"),
        (address.is_multicast, "is a multicast address"),
        (address.is_link_local, "is link-local, where cloud metadata services live, not BMCs"),
        (address.is_reserved, "is reserved or broadcast"),
    ):
        if wrong:
            raise InvalidValue(field, text, why, _REMEDY)
    if _is_own(address):
        raise InvalidValue(field, text, "is an address of the appliance itself", _REMEDY)
    return address


def ours_towards(address: str) -> str:
    """The address of ours that a BMC sees us at, in brackets if it is IPv6. Raises BmcError without a route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing: the kernel chooses the route
            ours = str(probe.getsockname()[0])
    except OSError as error:
        raise BmcError("unreachable", f"BMC {address}: {error.strerror}", "check address and routing") from None
    return f"[{ours}]" if family == socket.AF_INET6 else ours


def _is_own(address: IPv4Address | IPv6Address) -> bool:
    """The kernel lets a socket bind to the host's own addresses only; port 0 disturbs nobody."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
