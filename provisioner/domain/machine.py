"""A machine: hardware in a slot, with the intent the slot carries and the install under way.

Identity (``id``) never changes; names, places and boards do. All times are UTC microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from provisioner.domain.mac import Mac

IPAddress = IPv4Address | IPv6Address


class State(StrEnum):
    """Where a machine is in its life; design part 1 has the table, ``lifecycle`` the rules."""

    NEW = "new"
    READY = "ready"
    ARMED = "armed"
    INSTALLING = "installing"
    INSTALLED = "installed"
    ACTIVE = "active"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


class Phase(StrEnum):
    """The steps of one install, in order; one list for code, API and page."""

    FIRMWARE = "firmware"
    LOADER = "loader"
    KERNEL = "kernel"
    CONFIG = "config"
    CLOCK = "clock"
    DISK = "disk"
    IMAGE = "image"
    PAYLOAD = "payload"
    WRITTEN = "written"
    REBOOT = "reboot"
    ACTIVE = "active"


PHASES: tuple[Phase, ...] = tuple(Phase)


class OnFailure(StrEnum):
    """What a failed machine's netboot gets; the role decides."""

    DISK = "disk"
    RESCUE = "rescue"
    POWER_OFF = "power-off"


@dataclass(frozen=True, slots=True)
class Slot:
    """A place, and the intent for whatever hardware sits in it."""

    id: UUID
    name: str
    """The machine's host name, unique; RFC 1123 label, lower case."""
    rack: str = ""
    chassis: str = ""
    unit: int | None = None
    blade: int | None = None
    role: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""
    implicit: bool = True
    """Made with its machine, and goes with it; False: a place that stays when its machine leaves."""
    options: Mapping[int, bytes] = field(default_factory=dict)
    """DHCP options for whatever sits here, by code and encoded; they win over the role's and the subnet's."""
    switch_port: str = ""
    """The switch port that this place is wired to, as relays name it (``sw3 17``); empty: not stated."""
    armed_itself: bool = False
    """What sat here was armed by being switched on; that happens once per slot."""
    menu: str = ""
    """Roles that a person at the console may choose, separated by ``;``; ``none``: no menu; empty: the subnet's."""
    version: int = 0
    """Counts edits; the ETag of the API."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network card's port."""

    id: UUID
    mac: Mac
    boot: bool = True
    switch_port: str = ""
    source: str = "operator"
    """Who told us: operator, import, bmc, dhcp, discovery."""


@dataclass(frozen=True, slots=True)
class Address:
    """A reserved address: one a NIC and subnet. ``mac`` is the interface that it is given to."""

    id: UUID
    ip: IPAddress
    mac: Mac | None = None
    """None: any interface of the machine that has no address of its own in this subnet."""


@dataclass(frozen=True, slots=True)
class Install:
    """One armed install and its attempts. Compiled once, at arming; ``files`` are served as they are."""

    id: UUID
    role: str
    revision: str
    """Content hash of the role at arming."""
    token_hash: str
    """sha256 (hex) of the install token; the token itself is derived, never stored."""
    armed_at: int
    deadline: int
    """After this an armed or installing machine gets its disk again."""
    max_attempts: int = 3
    attempts: int = 0
    boots: int = 0
    """Boot scripts handed out; an install.sh repeated within one boot is a retry, not an attempt."""
    attempt_boot: int = 0
    """The value of ``boots`` when the last attempt was counted."""
    phase: Phase | None = None
    percent: int | None = None
    phase_at: int | None = None
    outcome: str = ""
    """'' while open, else complete, failed, expired, disarmed, released, quarantined."""
    reason: str = ""
    on_failure: OnFailure = OnFailure.DISK
    wipe: bool = False
    """The operator allowed foreign data on the disk to be lost."""
    machine_token_hash: str = ""
    power_cycles: int = 0
    """How often the watchdog may still switch the power of a machine that hangs before its installer runs."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Compiled bytes by part: boot.ipxe, pxe.yml, install.sh, config.yml, network, peers/ROLE, ignition.json."""

    @property
    def open(self) -> bool:
        return not self.outcome


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware, the slot it sits in, and its latest install."""

    id: UUID
    slot: Slot
    state: State = State.NEW
    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    vendor: str = ""
    model: str = ""
    serial: str = ""
    uuid: UUID | None = None
    """SMBIOS UUID."""
    firmware: str = ""
    """Last seen boot firmware, a ``Firmware`` value; empty if never seen."""
    labels: Mapping[str, str] = field(default_factory=dict)
    bmc_id: UUID | None = None
    state_reason: str = ""
    state_at: int = 0
    install: Install | None = None
    """The latest install, open or ended."""
    live: str = ""
    """The in-memory role that an operator asked its next boot to be, once; empty: none."""
    approved: bool = True
    """False: it came by itself where the subnet's policy is ``approve``, and waits for an operator."""
    version: int = 0
    """Counts edits of intent (not progress); the ETag of the API."""

    @property
    def name(self) -> str:
        return self.slot.name

    @property
    def macs(self) -> tuple[Mac, ...]:
        return tuple(interface.mac for interface in self.interfaces)

    @property
    def boot_mac(self) -> Mac | None:
        """The MAC the machine is expected to boot from: the first boot interface, else the first."""
        for interface in self.interfaces:
            if interface.boot:
                return interface.mac
        return self.interfaces[0].mac if self.interfaces else None

    @property
    def boot_port(self) -> str:
        """The switch port that the boot interface was last seen at; empty: no relay told."""
        mac = self.boot_mac
        return next((nic.switch_port for nic in self.interfaces if nic.mac == mac), "")

    def address_for(self, mac: Mac) -> IPAddress | None:
        """The IPv4 address reserved for this interface; a NIC-bound reservation wins over a machine-wide one."""
        machine_wide = None
        for address in self.addresses:
            if address.ip.version != 4:
                continue
            if address.mac == mac:
                return address.ip
            if address.mac is None and machine_wide is None:
                machine_wide = address.ip
        # A machine-wide address goes to one NIC only, so that two NICs that boot at once never share it.
        return machine_wide if mac == self.boot_mac else None

    @property
    def ip(self) -> IPAddress | None:
        """The address of the boot interface, the one people mean by 'the machine's IP'."""
        mac = self.boot_mac
        return self.address_for(mac) if mac else (self.addresses[0].ip if self.addresses else None)
