"""What a client asks, and what kind of client asks it: read from the packet once."""

import re
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple

from provisioner.dhcp.options import (
    CIRCUIT_ID,
    LINK_SELECTION,
    REMOTE_ID,
    SERVER_ID_OVERRIDE,
    MessageType,
    Option,
    is_client_uuid,
    read_address,
    read_architectures,
    read_suboptions,
    read_user_classes,
)
from provisioner.dhcp.packet import NOWHERE, MalformedPacket, Packet, ipv4
from provisioner.domain.firmware import Firmware, architecture
from provisioner.domain.mac import Mac

_TYPES = {bytes((kind,)): kind for kind in MessageType}
_LEGAL = 576
"""The smallest limit that a client may have (RFC 2132 §9.10); the default, too."""
_ARCH_IN_CLASS = re.compile(rb":Arch:(\d{5})")


class Client(StrEnum):
    """Who speaks: it decides what a boot file is to it."""

    SYSTEM = "system"
    """An operating system, or anything else that wants an address only."""
    PXE = "PXE"
    HTTP = "HTTP boot"
    IPXE = "iPXE"


# What most packets are compared with: to find a member of an enum takes longer than the comparison.
_SYSTEM, _UNKNOWN, _DISCOVER = Client.SYSTEM, Firmware.UNKNOWN, MessageType.DISCOVER


class Question(NamedTuple):
    """A packet with its options read."""

    packet: Packet
    mac: Mac
    type: MessageType
    client: Client
    firmware: Firmware
    """UNKNOWN for systems, and for netboot clients that name no known architecture."""
    architectures: tuple[int, ...]
    """As listed in option 93, for the reason when none is known."""
    ciaddr: IPv4Address
    """NOWHERE where a buggy client fills it although it has no address yet."""
    requested: IPv4Address | None
    server_id: IPv4Address | None
    link: IPv4Address | None
    """An address on the client's own network, if a relay told: link selection, else giaddr."""
    server_id_override: IPv4Address | None
    max_size: int
    """Bytes that the reply's payload may have."""
    switch_port: str = ""
    """As the relay names it (RFC 3046: remote-id, circuit-id), if it does."""
    doubt: str = ""
    """Why a client that looks like netboot is treated as a system; empty if it is not so."""


def read(packet: Packet, mac: Mac) -> Question:
    """Raises MalformedPacket where an option that the answer depends on cannot be read."""
    options = packet.options
    kind = _message_type(options.get(Option.MESSAGE_TYPE))
    requested = options.get(Option.REQUESTED_ADDRESS)
    server_id = options.get(Option.SERVER_ID)
    # Sub-options come from the relay; without giaddr no relay spoke, and a client has no say in them.
    relayed = packet.giaddr != NOWHERE
    told = read_suboptions(options[Option.RELAY_AGENT]) if relayed and Option.RELAY_AGENT in options else {}
    link = _sub_address(told, LINK_SELECTION) if told else None
    client, doubt = _client(packet)
    numbers = _architectures(packet) if client is not _SYSTEM else ()
    known = architecture(numbers)
    # Buggy clients fill ciaddr in DISCOVER, or together with option 50 (dnsmasq clears it in the same two cases).
    has_address = requested is None and kind is not _DISCOVER
    return Question(
        packet,
        mac,
        kind,
        client,
        known.firmware if known else _UNKNOWN,
        numbers,
        packet.ciaddr if has_address else NOWHERE,
        read_address(requested, Option.REQUESTED_ADDRESS) if requested is not None else None,
        read_address(server_id, Option.SERVER_ID) if server_id is not None else None,
        link or (packet.giaddr if relayed else None),
        _sub_address(told, SERVER_ID_OVERRIDE) if told else None,
        _max_size(options.get(Option.MAX_MESSAGE_SIZE)),
        _switch_port(told) if told else "",
        doubt,
    )


def _message_type(value: bytes | None) -> MessageType:
    if value is None or len(value) != 1:
        raise MalformedPacket("option 53 (message type) is missing or not one byte long")
    if (known := _TYPES.get(value)) is None:
        raise MalformedPacket(f"message type {value[0]} is not served here")
    return known


def _client(packet: Packet) -> tuple[Client, str]:
    options = packet.options
    # iPXE sends its class raw, others wrap theirs as RFC 3004 says; FlexBoot sends none, but option 175.
    user_class = options.get(Option.USER_CLASS)
    if Option.IPXE in options or (user_class is not None and b"iPXE" in read_user_classes(user_class)):
        return Client.IPXE, ""
    vendor_class = options.get(Option.VENDOR_CLASS, b"")
    if vendor_class.startswith(b"HTTPClient"):
        client = Client.HTTP
    elif vendor_class.startswith(b"PXEClient"):
        client = Client.PXE
    else:
        return _SYSTEM, ""
    # Some ROMs omit option 97 and boot all the same; a wrong one is no PXE client's.
    if (uuid := options.get(Option.CLIENT_UUID)) is not None and not is_client_uuid(uuid):
        return Client.SYSTEM, f"its option 97 is {len(uuid)} bytes and no UUID, so it gets no boot file"
    return client, ""


def _architectures(packet: Packet) -> tuple[int, ...]:
    if (value := packet.options.get(Option.CLIENT_ARCHITECTURE)) is not None:
        return read_architectures(value)
    # PXE 2.1 repeats the number in the class: PXEClient:Arch:00007:UNDI:003001.
    found = _ARCH_IN_CLASS.search(packet.options.get(Option.VENDOR_CLASS, b""))
    return (int(found[1]),) if found else ()


def _switch_port(agent: dict[int, bytes]) -> str:
    """Both names in one line, readable ones as text. They are data of a switch, shown and compared, never run."""
    return " ".join(_legible(agent[code]) for code in (REMOTE_ID, CIRCUIT_ID) if agent.get(code))


def _legible(name: bytes) -> str:
    # A terminator or two at the end is common; anything else that is not printable ASCII makes it a number.
    text = name.rstrip(b"\0")
    return text.decode() if text and all(0x20 < byte < 0x7F for byte in text) else name.hex()


def _sub_address(suboptions: dict[int, bytes], code: int) -> IPv4Address | None:
    value = suboptions.get(code)
    return ipv4(value) if value is not None and len(value) == 4 else None


def _max_size(value: bytes | None) -> int:
    """Option 57 counts the IP and UDP headers; below 576 it is not legal, above an Ethernet frame EDK2 drops."""
    if value is None or len(value) != 2:
        return _LEGAL - 28
    return min(max(int.from_bytes(value, "big"), _LEGAL) - 28, 1472)
