"""A machine's whole talk with us from power-on, played through: the questions are ours, the answers real.

Each answer is the very decision that the server would send, so it is byte for byte what such a client gets.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from provisioner.dhcp.decision import Context, Decision
from provisioner.dhcp.options import MessageType, Option
from provisioner.dhcp.packet import NOWHERE, Packet, decode, encode
from provisioner.dhcp.respond import handle
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac


class Rom(StrEnum):
    """What is in the machine: its firmware, and how it boots from the network."""

    BIOS = "bios"
    UEFI_X64 = "uefi-x64"
    UEFI_ARM64 = "uefi-arm64"
    HTTP_X64 = "http-x64"


_ARCHITECTURE = {Rom.BIOS: 0, Rom.UEFI_X64: 7, Rom.UEFI_ARM64: 11, Rom.HTTP_X64: 16}
_LOADED = {Rom.HTTP_X64: 7}
"""Option 93 of the iPXE that it then runs, where that differs."""
_WANTS = bytes((1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 28, 40, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97))
_XID = 0x50524F56


class Exchange(NamedTuple):
    """One question and what comes of it. ``who``: firmware or iPXE."""

    who: str
    question: bytes
    decision: Decision

    @property
    def asked(self) -> str:
        """DISCOVER or REQUEST."""
        return MessageType(decode(self.question).options[Option.MESSAGE_TYPE][0]).name

    @property
    def answer(self) -> Packet | None:
        return decode(self.decision.reply.packet) if self.decision.reply else None


def rehearse(
    mac: Mac, rom: Rom, inventory: Inventory, context: Context, now: int, uuid: UUID | None = None
) -> list[Exchange]:
    """From the firmware's first DISCOVER to the ACK that names the boot script. ``now``: UTC microseconds.

    It ends early where the machine would: without an answer, an address or something to load.
    """
    asker = {
        Option.MAX_MESSAGE_SIZE: (1472).to_bytes(2, "big"),
        Option.PARAMETER_REQUEST_LIST: _WANTS,
        Option.CLIENT_UUID: b"\0" + (uuid or UUID(int=0)).bytes,
    }
    talk = list(_asks("firmware", mac, asker | _named(rom), inventory, context, now))
    if talk[-1].answer is None or not talk[-1].answer.file:
        return talk
    number = _LOADED.get(rom, _ARCHITECTURE[rom])
    ipxe = asker | _identity(b"PXEClient", number) | {Option.USER_CLASS: b"iPXE"}
    return talk + list(_asks("iPXE", mac, ipxe, inventory, context, now))


def _asks(
    who: str, mac: Mac, options: dict[int, bytes], inventory: Inventory, context: Context, now: int
) -> Iterator[Exchange]:
    discover = _question(mac, MessageType.DISCOVER, options)
    offered = Exchange(who, discover, handle(discover, inventory, context, now))
    yield offered
    answer = offered.answer
    if answer is None or answer.yiaddr == NOWHERE:
        return
    chosen = {Option.REQUESTED_ADDRESS: answer.yiaddr.packed, Option.SERVER_ID: answer.options[Option.SERVER_ID]}
    request = _question(mac, MessageType.REQUEST, options | chosen)
    yield Exchange(who, request, handle(request, inventory, context, now))


def _question(mac: Mac, kind: MessageType, options: dict[int, bytes]) -> bytes:
    sent = {Option.MESSAGE_TYPE: bytes((kind,))} | options
    return encode(Packet(1, _XID, bytes(mac).ljust(16, b"\0"), flags=0x8000, options=sent), 548)


def _named(rom: Rom) -> dict[int, bytes]:
    return _identity(b"HTTPClient" if rom is Rom.HTTP_X64 else b"PXEClient", _ARCHITECTURE[rom])


def _identity(kind: bytes, number: int) -> dict[int, bytes]:
    return {
        Option.VENDOR_CLASS: kind + b":Arch:%05d:UNDI:003016" % number,
        Option.CLIENT_ARCHITECTURE: number.to_bytes(2, "big"),
    }
