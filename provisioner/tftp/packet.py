"""TFTP packets as bytes and as values: RFC 1350 §5, options of RFC 2347.

``decode`` returns one of the six packets or raises MalformedPacket, never anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class MalformedPacket(ValueError):
    """The datagram is no TFTP packet; ``str()`` says what is wrong with it."""


class Opcode(IntEnum):
    """The first two bytes: RFC 1350 §5; 6 is RFC 2347."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """RFC 1350 appendix; 8 is RFC 2347."""

    NOT_DEFINED = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TID = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_REFUSED = 8


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ. ``mode`` and option names are lower case (both are case-insensitive on the wire)."""

    opcode: Opcode
    filename: str
    """Bytes that are not UTF-8 appear as ``\\xNN``; such a name matches no file."""
    mode: str = "octet"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """One block; ``block`` is the 16-bit number on the wire."""

    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Acknowledges ``block`` and, with a window (RFC 7440), all before it."""

    block: int


@dataclass(frozen=True, slots=True)
class Error:
    """Ends a transfer. ``code`` is an int: clients send codes that no RFC has."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class OptionAck:
    """The options the server took, with the values that hold."""

    options: Mapping[str, str]


Packet = Request | Data | Ack | Error | OptionAck


def decode(datagram: bytes) -> Packet:
    """Read one datagram. Raises MalformedPacket."""
    if len(datagram) < 4:
        raise MalformedPacket(f"{len(datagram)} bytes; the shortest TFTP packet has 4")
    number, block = _u16(datagram, 0), _u16(datagram, 2)
    if number == Opcode.ACK:
        # First, since nearly all that a server gets is this. Bytes behind the number are ignored: some ROMs pad
        # to the Ethernet minimum.
        return Ack(block)
    match number:
        case Opcode.RRQ | Opcode.WRQ:
            return _request(Opcode(number), datagram)
        case Opcode.DATA:
            return Data(block, datagram[4:])
        case Opcode.ERROR:
            return Error(block, _text(datagram[4:].split(b"\0", 1)[0]))
        case Opcode.OACK:
            options = _options(datagram[2:].split(b"\0")[:-1])
            if not options:
                raise MalformedPacket("OACK without an option")
            return OptionAck(options)
        case _:
            raise MalformedPacket(f"opcode {number}; TFTP has 1 to 6")


def encode(packet: Packet) -> bytes:
    """Write one datagram. Names and values must be free of NUL."""
    match packet:
        case Request(opcode, filename, mode, options):
            return _head(opcode) + _strings(filename, mode, *(word for pair in options.items() for word in pair))
        case Data(block, payload):
            return _head(Opcode.DATA) + _two(block) + payload
        case Ack(block):
            return _head(Opcode.ACK) + _two(block)
        case Error(code, message):
            return _head(Opcode.ERROR) + _two(code) + _strings(message)
        case OptionAck(options):
            return _head(Opcode.OACK) + _strings(*(word for pair in options.items() for word in pair))


def _request(opcode: Opcode, datagram: bytes) -> Request:
    # What stands behind the last NUL, and an option name without a value, is tolerated: real ROMs leave
    # rubbish there (tftp-04). File name and mode must be terminated.
    words = datagram[2:].split(b"\0")[:-1]
    if len(words) < 2:
        raise MalformedPacket("request without a NUL-terminated file name and mode")
    if not words[0]:
        raise MalformedPacket("request with an empty file name")
    return Request(opcode, _text(words[0]), _text(words[1]).lower(), _options(words[2:]))


def _options(words: list[bytes]) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        # RFC 2347: an option may appear once; the first one counts.
        if name:
            options.setdefault(_text(name).lower(), _text(value))
    return options


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")


def _strings(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


def _u16(datagram: bytes, at: int) -> int:
    return int.from_bytes(datagram[at : at + 2], "big")


def _two(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _head(opcode: Opcode) -> bytes:
    return _two(opcode)
