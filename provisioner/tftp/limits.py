"""What clients can hold of the TFTP server, and which requests are turned away before a file is looked at."""

from dataclasses import dataclass, field

from provisioner.domain.machine import IPAddress
from provisioner.tftp.packet import ErrorCode, Opcode, Request


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients can hold here."""

    sessions: int = 2000
    """Transfers at once; each holds two descriptors."""
    sessions_per_ip: int = 64
    max_blksize: int = 65464
    """Bytes; the interface's MTU limits it further."""
    max_windowsize: int = 32
    """Blocks; as dnsmasq's cap."""
    ports: range = field(default_factory=lambda: range(0))
    """Ports for transfers, for firewalls; empty: any."""
    single_port: bool = False
    """All transfers by the request port, against RFC 1350 §4, for firewalls that track no TFTP (tftp-19)."""


class Rejected(Exception):
    """Why a request is not served, as the client and the timeline are told."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def check(request: Request, ip: IPAddress, limits: Limits, sessions: int, of_client: int) -> None:
    """Raises Rejected. ``sessions``: transfers open; ``of_client``: those of ``ip``."""
    if request.opcode is Opcode.WRQ:
        raise Rejected(ErrorCode.ILLEGAL_OPERATION, "this server is read-only; nothing can be written")
    if request.mode != "octet":
        raise Rejected(ErrorCode.ILLEGAL_OPERATION, f"mode {request.mode!r} is not served; ask for octet (binary)")
    if sessions >= limits.sessions:
        raise Rejected(
            ErrorCode.NOT_DEFINED,
            f"all {limits.sessions} transfers are taken; ask again, or raise tftp.max_sessions",
        )
    if of_client >= limits.sessions_per_ip:
        raise Rejected(
            ErrorCode.NOT_DEFINED,
            f"{ip} has {limits.sessions_per_ip} transfers open already; let them end first",
        )
