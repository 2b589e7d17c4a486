"""What happened, in sentences: the timeline's entries. The kinds are a closed list."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase


class Kind(StrEnum):
    """Kinds of events; the first word is the room that saw it."""

    MACHINE_ADDED = "machine.added"
    MACHINE_CHANGED = "machine.changed"
    MACHINE_REMOVED = "machine.removed"
    MACHINE_STATE = "machine.state"
    SLOT_CHANGED = "slot.changed"
    CLUSTER_CHANGED = "cluster.changed"
    ROLE_CHANGED = "role.changed"
    SUBNET_CHANGED = "subnet.changed"
    BMC_CHANGED = "bmc.changed"
    BMC_HARVEST = "bmc.harvest"
    BMC_POWER = "bmc.power"
    BMC_CONSOLE = "bmc.console"
    BMC_ERROR = "bmc.error"
    DHCP_OFFER = "dhcp.offer"
    DHCP_ACK = "dhcp.ack"
    DHCP_NAK = "dhcp.nak"
    DHCP_IGNORED = "dhcp.ignored"
    DHCP_DECLINE = "dhcp.decline"
    DHCP_RELEASE = "dhcp.release"
    DHCP_ROGUE = "dhcp.rogue"
    TFTP_READ = "tftp.read"
    TFTP_REFUSED = "tftp.refused"
    SCRIPT_SERVED = "script.served"
    FILE_SERVED = "file.served"
    IMAGE_READ = "image.read"
    REPORT_PROGRESS = "report.progress"
    REPORT_LOG = "report.log"
    REPORT_COMPLETE = "report.complete"
    REPORT_FAILED = "report.failed"
    REPORT_ACTIVE = "report.active"
    MENU_CHOICE = "menu.choice"
    TOKEN_REFUSED = "token.refused"  # noqa: S105
    LOGIN = "login"
    LOGIN_REFUSED = "login.refused"
    USER_CHANGED = "user.changed"
    JOB = "job"
    SERVICE = "service"


OBSERVED = frozenset(
    {
        Kind.DHCP_OFFER,
        Kind.DHCP_ACK,
        Kind.DHCP_NAK,
        Kind.DHCP_IGNORED,
        Kind.DHCP_DECLINE,
        Kind.DHCP_RELEASE,
        Kind.TFTP_READ,
        Kind.TFTP_REFUSED,
        Kind.SCRIPT_SERVED,
        Kind.FILE_SERVED,
        Kind.IMAGE_READ,
        Kind.REPORT_PROGRESS,
        # Anybody who reaches a port can cause these, and a service or a BMC that fails does so again and again.
        Kind.DHCP_ROGUE,
        Kind.TOKEN_REFUSED,
        Kind.LOGIN,
        Kind.LOGIN_REFUSED,
        Kind.BMC_ERROR,
        Kind.SERVICE,
    }
)
"""What was seen, not what was changed: packets, reads, progress, who was let in or turned away, what failed and was
tried again. It may be forgotten after a while."""


class Event(NamedTuple):
    """One entry. ``message`` is a plain sentence that names the cause and, for a refusal, the fix.

    A tuple, because every packet makes one: a frozen dataclass takes three times as long.
    """

    kind: Kind
    message: str
    at: int
    """UTC microseconds."""
    machine_id: UUID | None = None
    mac: Mac | None = None
    phase: Phase | None = None
    actor: str = ""
    """user:NAME, token:NAME, cli:NAME, machine, or the service's name."""
    data: Mapping[str, Any] = MappingProxyType({})
    id: int = 0
    """Order of storage; 0 until stored."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A MAC seen somewhere. Unknown MACs live here, not among the machines."""

    mac: Mac
    source: str
    """dhcp, bmc, vendor or discovery."""
    at: int
    detail: str = ""
    enrol: str = ""
    """``enrol`` or ``approve`` where the subnet's policy lists such a machine; empty: it is only noted."""
    firmware: str = ""
    """As the machine said; empty if it did not."""
    switch_port: str = ""
    """As its relay named it; empty if none did."""
