"""What was seen, before anybody judges it. ``host`` and ``fetched`` gather, ``checks`` judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from provisioner.domain.subnet import IPNetwork


@dataclass(frozen=True, slots=True)
class Wire:
    """A configured interface as the kernel shows it. ``stated``: the address that the settings give it."""

    name: str
    exists: bool = True
    up: bool = True
    carrier: bool = True
    addresses: tuple[IPv4Interface, ...] = ()
    stated: IPv4Address | None = None
    dhcp: str = "authoritative"
    others: tuple[str, ...] = ()
    """Interfaces that do exist here."""
    reverse_path: int = 0
    """The effective ``rp_filter``: 0 off, 1 strict, 2 loose."""

    @property
    def address(self) -> IPv4Address | None:
        """Ours on this wire."""
        return self.stated or (self.addresses[0].ip if self.addresses else None)


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket. ``device``: only packets of this interface reach it; empty: of any."""

    protocol: str
    address: str
    port: int
    device: str = ""
    program: str = ""
    """Empty when it belongs to a process that we may not look into."""
    pid: int = 0
    ours: bool = False
    unit: str = ""
    """The system's unit that the process belongs to, if one does."""


@dataclass(frozen=True, slots=True)
class Port:
    """One that the appliance needs. ``setting``: what moves it elsewhere; empty: the protocol fixes it."""

    protocol: str
    number: int
    address: str
    """Empty: any address of ``device``."""
    service: str
    setting: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A DHCP server that answered a probe. Text: it comes from the wire."""

    server: str
    mac: str = ""
    offered: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """Who answered a DISCOVER on a wire. ``failed``: why nobody could be asked."""

    wire: str
    answers: tuple[Answer, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file read back as a machine would. ``failed``: why not; ``same``: byte for byte the file on disk."""

    way: str
    url: str
    same: bool = False
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """UTC microseconds. ``never_before``: something that exists was made then. ``synchronised`` None: unknown."""

    now: int
    never_before: int
    synchronised: bool | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of ``data_dir``. Bytes, and inodes."""

    path: str
    exists: bool = True
    writable: bool = True
    free: int = 0
    size: int = 0
    free_files: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Database:
    """``revision`` None: empty, or not there yet. ``failed``: why it could not be read or written."""

    shown: str
    revision: str | None = None
    known: tuple[str, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class ImageState:
    name: str
    version: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleState:
    """A role and the image it wants. ``fault``: why it cannot be compiled. ``used``: a machine has it."""

    name: str
    image: str
    version: str = ""
    fault: str = ""
    used: bool = False


@dataclass(frozen=True, slots=True)
class Loader:
    """An entry of the loaders' manifest. ``fault``: missing, or not the bytes that were recorded."""

    name: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one examination saw. ``None`` and empty stand for what was not looked at."""

    wires: tuple[Wire, ...] = ()
    ports: tuple[Port, ...] = ()
    listeners: tuple[Listener, ...] | None = None
    capabilities: frozenset[str] = frozenset()
    loaders: tuple[Loader, ...] = ()
    clock: Clock | None = None
    disk: Disk | None = None
    database: Database | None = None
    images: tuple[ImageState, ...] = ()
    roles: tuple[RoleState, ...] = ()
    subnets: tuple[IPNetwork, ...] = ()
    neighbours_expected: int = 0
    """Machines, their BMCs and dynamic addresses that may be in the neighbour table at once."""
    neighbour_limits: tuple[int, int] | None = None
    """``gc_thresh2`` and ``gc_thresh3``."""
    routes: Mapping[IPNetwork, str] = field(default_factory=dict)
    """For subnets behind relays: the interface that answers leave by; empty: no route."""
    ruleset: Sequence[Mapping[str, Any]] | None = None
    """``nft -j list ruleset``; None: could not be read."""
