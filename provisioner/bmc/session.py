"""What an adapter is: a way to open a session with one BMC, and what can be asked in it.

An adapter runs in a child of the worker (``worker``), one job a process; whatever hangs is ended from outside.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from provisioner.domain.bmc import BootDevice, Chassis, Condition, Drive, Identity, Power


@dataclass(frozen=True, slots=True)
class Target:
    """One BMC's door and login, for one job."""

    address: str
    port: int
    user: str
    password: str = field(repr=False)
    certificate: str = ""
    """sha256 fingerprint (hex) that must be presented; empty: whatever is there, to be pinned."""


class Session(Protocol):
    """Logged in. Every method raises BmcError."""

    def identify(self) -> Identity: ...

    def power(self, operation: Power) -> Power: ...

    def set_boot_device(self, device: BootDevice, *, persistent: bool, uefi: bool) -> None: ...

    def chassis(self) -> Chassis: ...

    def condition(self) -> Condition: ...

    def drives(self, image: str | None) -> list[Drive]:
        """After ``image`` is done: a URL lies in one of them, '' empties all, None changes nothing."""
        ...


Open = Callable[[Target], AbstractContextManager[Session]]
