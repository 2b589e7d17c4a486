"""Board management controllers as the inventory knows them, and what one tells."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from provisioner.domain.mac import Mac


@dataclass(frozen=True, slots=True)
class Bmc:
    """A BMC's door. The password is not here: it stays encrypted in storage until a call needs it."""

    id: UUID
    address: str
    """IP literal."""
    port: int = 623
    protocol: str = "ipmi"
    """ipmi, redfish or cmm; auto: not known before the first harvest."""
    credential_id: UUID | None = None
    chassis: str = ""
    certificate: str = ""
    """sha256 fingerprint pinned on first use (Redfish)."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password for one call. Never logged: its repr hides the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ***)"


class Power(StrEnum):
    """Power operations, and the two states among them."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"
    RESET = "reset"
    STATUS = "status"


class BootDevice(StrEnum):
    """What the next boot, or every boot, starts from."""

    NETWORK = "network"
    DISK = "disk"
    CD = "cd"
    """A CD drive, the BMC's virtual one included."""
    SETUP = "setup"
    """The firmware's own menu."""
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a BMC tells about its server; every part may be missing on real hardware."""

    vendor: str = ""
    model: str = ""
    serial: str = ""
    uuid: UUID | None = None
    macs: tuple[Mac, ...] = ()
    """The host's NIC MACs, boot NIC first; never the BMC's own."""
    notes: tuple[str, ...] = ()
    """What could not be read, in words."""
    certificate: str = ""
    """Fingerprint that the BMC presented, to be pinned."""
    protocol: str = ""
    """What a BMC listed as auto turned out to speak, at ``port``."""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Blade:
    """One blade as its chassis manager tells."""

    number: int
    """Place in the chassis, from 1."""
    bmc: str
    """Address of the blade's own BMC; empty if it has none."""
    macs: tuple[Mac, ...]
    """The host's, boot NIC first."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chassis:
    """What a chassis manager tells of all its blades."""

    blades: tuple[Blade, ...]
    certificate: str = ""


class Health(StrEnum):
    """From best to worst; unknown: the BMC does not say."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Reading:
    """One sensor. ``value`` None: it has states only, or says nothing now."""

    name: str
    value: float | None
    unit: str
    health: Health
    state: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """How a server is."""

    health: Health
    readings: tuple[Reading, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be read, in words."""


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive that a BMC lends its server (Redfish VirtualMedia)."""

    name: str
    kinds: tuple[str, ...]
    """Of CD, DVD, Floppy, USBStick."""
    image: str = ""
    """What is in it, a URL or a name; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What a scan heard at one address, before any login."""

    address: str
    protocols: tuple[str, ...]
    """Of ipmi, redfish and cmm, those that answered."""
    vendor: str = ""
    model: str = ""
    certificate: str = ""
    """Fingerprint that was presented over HTTPS, to be pinned."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was heard in a list of addresses."""

    found: tuple[Presence, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """Addresses that were not asked, and why."""


@dataclass(frozen=True, slots=True)
class LoginTry:
    """How the last use of a credential at a BMC ended."""

    bmc_id: UUID
    credential_id: UUID
    outcome: str
    """trying (its end is not known yet), again (the same, for the second time), refused or worked."""
    at: int
    """UTC microseconds."""
