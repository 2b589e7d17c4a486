"""Option numbers and what their values mean: RFC 2132 unless a line says otherwise."""

from collections.abc import Iterable
from enum import IntEnum
from ipaddress import IPv4Address

from provisioner.dhcp.packet import MalformedPacket, ipv4


class Option:
    """Options that are read or written here. Plain numbers: a packet has some thirty looked up, and a member of an
    enum takes four times as long to be found."""

    SUBNET_MASK = 1
    ROUTERS = 3
    DNS_SERVERS = 6
    HOST_NAME = 12
    BOOT_FILE_SIZE = 13
    DOMAIN_NAME = 15
    BROADCAST_ADDRESS = 28
    NTP_SERVERS = 42
    VENDOR_SPECIFIC = 43
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    PARAMETER_REQUEST_LIST = 55
    MESSAGE = 56
    MAX_MESSAGE_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    TFTP_SERVER_NAME = 66
    BOOT_FILE_NAME = 67
    USER_CLASS = 77  # RFC 3004
    RELAY_AGENT = 82  # RFC 3046
    CLIENT_ARCHITECTURE = 93  # RFC 4578 §2.1
    CLIENT_UUID = 97  # RFC 4578 §2.3
    CLASSLESS_ROUTES = 121  # RFC 3442
    IPXE = 175  # ipxe.org, encapsulated options
    MS_CLASSLESS_ROUTES = 249


class MessageType(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


CIRCUIT_ID = 1  # RFC 3046 §3.1
REMOTE_ID = 2
LINK_SELECTION = 5  # RFC 3527
SERVER_ID_OVERRIDE = 11  # RFC 5107
"""Sub-options of the relay agent's option."""

PXE_BOOT_ITEM = 71
"""Sub-option of option 43: the boot server type and layer that a PXE client chose; its ACK repeats it."""

PXE_BOOT_FROM_FILE = b"\x06\x01\x08\xff"
"""Option 43 that says: no prompt, no menu, no discovery on 4011, load the boot file given (PXE 2.1,
PXE_DISCOVERY_CONTROL bit 3). Without it EDK2 goes to UDP 4011 although a boot file is named."""

IPXE_NO_PROXY = b"\xb0\x01\x01"
"""Option 175 with no-pxedhcp (176) = 1: iPXE need not wait two seconds for a proxy's offer."""


def read_address(value: bytes, option: int) -> IPv4Address:
    """One address. Raises MalformedPacket when the value is not four bytes long."""
    if len(value) != 4:
        raise MalformedPacket(f"option {option} has {len(value)} bytes; an address has four")
    return ipv4(value)


def read_architectures(value: bytes) -> tuple[int, ...]:
    """Option 93: a list of 16-bit numbers, most wanted first. A trailing odd byte is not a number."""
    return tuple(int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value) - 1, 2))


def read_user_classes(value: bytes) -> tuple[bytes, ...]:
    """Option 77 as RFC 3004 §4 (each class behind its length), or raw, as iPXE and many others send it."""
    classes = []
    at = 0
    while at < len(value):
        length = value[at]
        if not length or at + 1 + length > len(value):
            return (value,)
        classes.append(value[at + 1 : at + 1 + length])
        at += 1 + length
    return tuple(classes)


def read_suboptions(value: bytes) -> dict[int, bytes]:
    """Encapsulated options (43, 82): code, length, value; 0 pads and 255 ends. What is cut short is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(value):
        code = value[at]
        if code == 0:
            at += 1
            continue
        if code == 255 or at + 1 >= len(value):
            break
        start = at + 2
        at = start + value[at + 1]
        if at > len(value):
            break
        found[code] = value[start:at]
    return found


def is_client_uuid(value: bytes) -> bool:
    """Option 97 has one known form: type 0 and 16 bytes (RFC 4578 §2.3).

    The UUID itself is not read here: ROMs send SMBIOS' bytes as stored, iPXE turns the first three fields round.
    """
    return len(value) == 17 and value[0] == 0


def write_addresses(addresses: Iterable[object]) -> bytes:
    """The IPv4 addresses among these, joined; IPv6 has options of its own."""
    return b"".join(address.packed for address in addresses if isinstance(address, IPv4Address))


def write_seconds(seconds: int) -> bytes:
    """A 32-bit time."""
    return seconds.to_bytes(4, "big")
