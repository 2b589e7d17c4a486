"""The reply's bytes, and where they go."""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from provisioner.dhcp.options import (
    IPXE_NO_PROXY,
    PXE_BOOT_FROM_FILE,
    PXE_BOOT_ITEM,
    MessageType,
    Option,
    read_suboptions,
    write_addresses,
    write_seconds,
)
from provisioner.dhcp.packet import (
    BROADCAST_FLAG,
    NOWHERE,
    encode_reply,
    wire_size,
    write_option,
    write_options,
)
from provisioner.dhcp.question import Client, Question
from provisioner.dhcp.written import Shelf
from provisioner.domain.firmware import Firmware
from provisioner.domain.mac import Mac
from provisioner.domain.option_set import NO_OPTIONS, OptionSet, routes_of, write_route
from provisioner.domain.subnet import Subnet

SERVER_PORT = 67
CLIENT_PORT = 68
EVERYONE = IPv4Address("255.255.255.255")

_ESSENTIAL = frozenset(
    {
        Option.MESSAGE_TYPE,
        Option.SERVER_ID,
        Option.LEASE_TIME,
        Option.RENEWAL_TIME,
        Option.REBINDING_TIME,
        Option.SUBNET_MASK,
        Option.ROUTERS,
        Option.VENDOR_SPECIFIC,
        Option.VENDOR_CLASS,
        Option.BOOT_FILE_NAME,
        Option.CLIENT_ID,
        Option.CLIENT_UUID,
    }
)
"""Never left out for want of room."""
_UNASKED = frozenset({Option.SUBNET_MASK, Option.ROUTERS})
"""Sent whether the client lists them in its option 55 or not: without them it has no network."""
# Compared with for every reply: to find a member of an enum takes longer than the comparison.
_INFORM, _ACK = MessageType.INFORM, MessageType.ACK
_SHELF = Shelf()
_EVERYWHERE = IPv4Network("0.0.0.0/0")


class Via(StrEnum):
    """How a reply reaches its client (RFC 2131 §4.1)."""

    RELAY = "relay"
    """UDP to the relay's server port."""
    ADDRESS = "address"
    """UDP to an address that the client already answers on."""
    LINK = "link"
    """A frame to ``mac``, because the client has no address yet and cannot answer ARP."""
    BROADCAST = "broadcast"


class Reply(NamedTuple):
    """One datagram to send."""

    packet: bytes
    via: Via
    address: IPv4Address
    port: int
    mac: Mac | None = None
    """The frame's destination; only with ``Via.LINK``."""


class BootFile(NamedTuple):
    """What a netboot client is to load, and the server it is on."""

    name: str
    """A TFTP path or an absolute URL, at most 127 bytes: it goes into ``file`` as well."""
    server: IPv4Address


def nak(question: Question, server_id: IPv4Address, why: str) -> Reply:
    """DHCPNAK (RFC 2131, table 3): no address, no lease, no boot file."""
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((MessageType.NAK,)),
        Option.SERVER_ID: server_id.packed,
        Option.MESSAGE: why.encode("ascii", "replace")[:255],
    }
    _echo(question, options, Option.CLIENT_ID)
    asked = question.packet
    if asked.giaddr == NOWHERE:
        return Reply(_payload(question, write_options(options)), Via.BROADCAST, EVERYONE, CLIENT_PORT)
    # RFC 2131 §4.3.2: the relay must broadcast it, the client's address is no longer good.
    payload = _payload(question, write_options(options), flags=asked.flags | BROADCAST_FLAG)
    return Reply(payload, Via.RELAY, asked.giaddr, SERVER_PORT)


def grant(
    question: Question,
    kind: MessageType,
    address: IPv4Address,
    server_id: IPv4Address,
    subnet: Subnet,
    host_name: str,
    boot: BootFile | None,
    stated: OptionSet = NO_OPTIONS,
) -> tuple[Reply, str]:
    """OFFER or ACK with ``address``; an ACK to INFORM carries no address and no times (RFC 2131 §4.3.5).
    ``stated``: what operators set for this client beyond the subnet's own fields.

    Returns the reply and what had to be left out of it, as the end of a sentence, or ''.
    """
    own = _boot(question, boot) if boot is not None else {}
    if host_name:
        own[Option.HOST_NAME] = host_name.encode()
    _echo(question, own, Option.CLIENT_ID)

    def options() -> dict[int, bytes]:
        return _ordered(question, _granted(question, kind, server_id, subnet, own, stated))

    wanted = question.packet.options.get(Option.PARAMETER_REQUEST_LIST)
    informed = question.type is _INFORM
    of_operators = tuple(stated.items()) if stated is not subnet.options else ()
    written = _SHELF.options(subnet, (kind, informed, wanted, server_id.packed, of_operators), own, options)
    left_out: list[int] = []
    if len(written) > _room(question):
        fitting, left_out = _fitted(question, options())
        written = write_options(fitting)
    payload = _payload(
        question,
        written,
        ciaddr=question.ciaddr if kind is _ACK else NOWHERE,
        yiaddr=NOWHERE if informed else address,
        siaddr=boot.server if boot is not None else NOWHERE,
        file=boot.name.encode() if boot is not None else b"",
    )
    return _addressed(question, address, payload), _left_out(question, left_out)


def _granted(
    question: Question,
    kind: MessageType,
    server_id: IPv4Address,
    subnet: Subnet,
    own: Mapping[int, bytes],
    stated: OptionSet,
) -> dict[int, bytes]:
    """Everything that the client is told. ``own``: what it alone is told; the name only if it is asked for."""
    host_name = own.get(Option.HOST_NAME, b"")
    options = _asked_for(question, _routed({**_network(subnet, host_name), **stated}))
    # Ours come on top: what the protocol or the boot depends on is not for operators to set.
    options |= {Option.MESSAGE_TYPE: bytes((kind,)), Option.SERVER_ID: server_id.packed}
    if question.type is not MessageType.INFORM:
        # T1 and T2 in the OFFER too: some print servers take nothing else.
        seconds = subnet.lease_seconds
        options[Option.LEASE_TIME] = write_seconds(seconds)
        options[Option.RENEWAL_TIME] = write_seconds(seconds // 2)
        options[Option.REBINDING_TIME] = write_seconds(seconds * 7 // 8)
    return options | {code: value for code, value in own.items() if code != Option.HOST_NAME}


def proxy_offer(
    question: Question, server_id: IPv4Address, boot: BootFile | None, server: IPv4Address
) -> tuple[Reply, str]:
    """An OFFER without an address, from beside the server that gives them. ``boot`` None: asked for on 4011."""
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((MessageType.OFFER,)),
        Option.SERVER_ID: server_id.packed,
        # This class is what tells a proxy's offer from a DHCP server's (PXE 2.1, table 2-1).
        Option.VENDOR_CLASS: b"HTTPClient" if question.client is Client.HTTP else b"PXEClient",
    }
    if boot is not None:
        options |= _file_options(boot)
        if question.client is Client.PXE:
            options[Option.VENDOR_SPECIFIC] = PXE_BOOT_FROM_FILE
    return _boot_only(question, options, boot, server, broadcast=True)


def boot_server_ack(question: Question, server_id: IPv4Address, boot: BootFile) -> tuple[Reply, str]:
    """The ACK of a boot server on port 4011: a boot file and no address (PXE 2.1, table 2-7)."""
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((MessageType.ACK,)),
        Option.SERVER_ID: server_id.packed,
        Option.VENDOR_CLASS: b"PXEClient",
        **_file_options(boot),
    }
    asked = read_suboptions(question.packet.options.get(Option.VENDOR_SPECIFIC, b"")).get(PXE_BOOT_ITEM)
    if asked is not None and question.firmware is Firmware.BIOS:
        options[Option.VENDOR_SPECIFIC] = bytes((PXE_BOOT_ITEM, len(asked))) + asked + b"\xff"
    return _boot_only(question, options, boot, boot.server, broadcast=False)


def _boot_only(
    question: Question, options: dict[int, bytes], boot: BootFile | None, server: IPv4Address, *, broadcast: bool
) -> tuple[Reply, str]:
    _echo(question, options, Option.CLIENT_UUID)
    _echo(question, options, Option.CLIENT_ID)
    options, left_out = _fitted(question, _ordered(question, options))
    payload = _payload(
        question,
        write_options(options),
        ciaddr=NOWHERE if broadcast else question.ciaddr,
        siaddr=server,
        file=boot.name.encode() if boot is not None else b"",
    )
    if question.packet.giaddr != NOWHERE:
        return Reply(payload, Via.RELAY, question.packet.giaddr, SERVER_PORT), _left_out(question, left_out)
    if broadcast or question.ciaddr == NOWHERE:
        # It has no address of ours to be reached at.
        return Reply(payload, Via.BROADCAST, EVERYONE, CLIENT_PORT), _left_out(question, left_out)
    return Reply(payload, Via.ADDRESS, question.ciaddr, CLIENT_PORT), _left_out(question, left_out)


def _left_out(question: Question, codes: list[int]) -> str:
    if not codes:
        return ""
    return f"; options {', '.join(map(str, codes))} left out, it takes {question.max_size} bytes"


def _addressed(question: Question, address: IPv4Address, payload: bytes) -> Reply:
    asked = question.packet
    if asked.giaddr != NOWHERE:
        return Reply(payload, Via.RELAY, asked.giaddr, SERVER_PORT)
    if question.ciaddr != NOWHERE:
        return Reply(payload, Via.ADDRESS, question.ciaddr, CLIENT_PORT)
    if asked.broadcast:
        return Reply(payload, Via.BROADCAST, EVERYONE, CLIENT_PORT)
    return Reply(payload, Via.LINK, address, CLIENT_PORT, question.mac)


def _asked_for(question: Question, options: dict[int, bytes]) -> dict[int, bytes]:
    """What the client lists in its option 55; one that lists nothing gets what there is."""
    wanted = question.packet.options.get(Option.PARAMETER_REQUEST_LIST)
    if wanted is None:
        return options
    return {code: value for code, value in options.items() if code in wanted or code in _UNASKED}


def _routed(options: dict[int, bytes]) -> dict[int, bytes]:
    """RFC 3442: a client that reads classless routes ignores option 3, so the default route goes into them, too;
    Windows asks for them by another number."""
    routes, router = options.get(Option.CLASSLESS_ROUTES), options.get(Option.ROUTERS)
    if routes is None:
        return options
    if router and all(network != _EVERYWHERE for network, _ in routes_of(routes)):
        routes += write_route(_EVERYWHERE, IPv4Address(router[:4]))
    options[Option.CLASSLESS_ROUTES] = routes
    options.setdefault(Option.MS_CLASSLESS_ROUTES, routes)
    return options


def _network(subnet: Subnet, host_name: bytes) -> dict[int, bytes]:
    prefix = subnet.prefix
    if not isinstance(prefix, IPv4Network):
        raise TypeError(f"subnet {prefix} is not IPv4")
    options: dict[int, bytes] = {
        Option.SUBNET_MASK: prefix.netmask.packed,
        Option.ROUTERS: write_addresses((subnet.gateway,)),
        Option.DNS_SERVERS: write_addresses(subnet.dns),
        Option.HOST_NAME: host_name,
        Option.DOMAIN_NAME: subnet.domain.encode(),
        Option.BROADCAST_ADDRESS: prefix.broadcast_address.packed,
        Option.NTP_SERVERS: write_addresses(subnet.ntp),
    }
    return {code: value for code, value in options.items() if value}


def _boot(question: Question, boot: BootFile) -> dict[int, bytes]:
    options = _file_options(boot)
    match question.client:
        case Client.PXE:
            options[Option.VENDOR_CLASS] = b"PXEClient"
            options[Option.VENDOR_SPECIFIC] = PXE_BOOT_FROM_FILE
        case Client.HTTP:
            # Without the echo EDK2 sees an offer of somebody who knows nothing of HTTP boot.
            options[Option.VENDOR_CLASS] = b"HTTPClient"
        case Client.IPXE:
            # No PXEClient here: iPXE would take the offer for a proxy's, too, and ask on 4011.
            options[Option.IPXE] = IPXE_NO_PROXY
    _echo(question, options, Option.CLIENT_UUID)
    return options


def _file_options(boot: BootFile) -> dict[int, bytes]:
    return {
        # Terminated, because old ROMs copy it as a C string.
        Option.BOOT_FILE_NAME: boot.name.encode() + b"\0",
        Option.TFTP_SERVER_NAME: str(boot.server).encode(),
    }


def _echo(question: Question, options: dict[int, bytes], option: int) -> None:
    """Give an identifier back as it came (RFC 6842, RFC 4578), and none to a client that sent none."""
    if (value := question.packet.options.get(option)) is not None:
        options[option] = value


def _fitted(question: Question, options: dict[int, bytes]) -> tuple[dict[int, bytes], list[int]]:
    """Options in their order, without those that find no room."""
    ordered = dict(options)
    size, room = sum(map(wire_size, ordered.values())), _room(question)
    left_out = []
    for code in reversed(list(ordered)):
        if size <= room:
            break
        if code not in _ESSENTIAL:
            size -= wire_size(ordered.pop(code))
            left_out.append(int(code))
    return ordered, left_out


def _ordered(question: Question, options: dict[int, bytes]) -> dict[int, bytes]:
    """Options in the order in which the client wants them (its option 55)."""
    wanted = question.packet.options.get(Option.PARAMETER_REQUEST_LIST, b"")
    ordered = {Option.MESSAGE_TYPE: options[Option.MESSAGE_TYPE]} | {c: options[c] for c in wanted if c in options}
    return ordered | options


def _room(question: Question) -> int:
    """Bytes for options. The header, the END and the relay agent's option, which is appended later, are in, too."""
    agent = question.packet.options.get(Option.RELAY_AGENT)
    return question.max_size - 241 - (wire_size(agent) if agent is not None else 0)


def _payload(
    question: Question,
    written: bytes,
    *,
    flags: int | None = None,
    ciaddr: IPv4Address = NOWHERE,
    yiaddr: IPv4Address = NOWHERE,
    siaddr: IPv4Address = NOWHERE,
    file: bytes = b"",
) -> bytes:
    asked = question.packet
    if (agent := asked.options.get(Option.RELAY_AGENT)) is not None:
        # RFC 3046 §2.2: echoed as it is, after everything else.
        written += write_option(Option.RELAY_AGENT, agent)
    return encode_reply(
        asked,
        written,
        flags=asked.flags if flags is None else flags,
        ciaddr=ciaddr,
        yiaddr=yiaddr,
        siaddr=siaddr,
        file=file,
    )
