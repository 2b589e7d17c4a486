"""What both web apps are given by wiring."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from provisioner.boot.blast import RolePlanner
from provisioner.doctor.checkup import Checkup
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress, Machine
from provisioner.domain.ports import Compiler, Journal, Observer, SnapshotSource, Store
from provisioner.images.library import Library


@dataclass(frozen=True, slots=True)
class Parts:
    """Adapters and facts; tests pass fakes of the same shape."""

    store: Store
    snapshot: SnapshotSource
    observer: Observer
    compiler: Compiler
    journal: Journal
    token_key: bytes
    clock: Callable[[], int]
    """UTC microseconds."""
    neighbour: Callable[[IPAddress], Mac | None]
    """The MAC that the kernel's neighbour table shows for an address on our wire."""
    loaders: Path
    images: Library
    planner: RolePlanner
    """The roles, and what another revision of one would change."""
    power_on: Callable[[Inventory, Machine | None, Mac | None, str], dict[str, Any]]
    """Everything that a machine, or a MAC, would be told; the last: its firmware."""
    role_images: Callable[[], Sequence[tuple[str, str, str]]] = tuple
    """Role name, its image, and the version it is pinned to (empty: the newest)."""
    roles: Callable[[], frozenset[str]] = frozenset
    """Names of the roles that exist."""
    payload: Callable[[], Collection[str]] = tuple
    """Paths below ``/payload/``."""
    packets_metrics: Path | None = None
    """Numbers of the packets service in Prometheus' text format, as it wrote them last."""
    checkup: Checkup | None = None
    arm_hours: float = 24
    wires: tuple[tuple[str, IPv4Address], ...] = ()
    """Interface names and our address on each, for the page's top bar."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the service stops: streams end by themselves then, and whoever listens connects anew."""
    secure_cookies: bool = False
    """Behind TLS: the session cookie is marked Secure."""
