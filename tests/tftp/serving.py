"""A TFTP server in a thread of the test, and what it observed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from provisioner.domain.events import Event, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.tftp.files import Virtual
from provisioner.tftp.limits import Limits
from provisioner.tftp.server import TftpServer

LOOPBACK = ip_address("127.0.0.1")


@dataclass
class FixedSnapshot:
    """A snapshot that stays as it is."""

    inventory: Inventory = field(default_factory=Inventory)


@dataclass
class Recorder:
    """An observer that keeps what it was told, and lets a test wait for it."""

    events: list[Event] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def observe(self, event: Event) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def sight(self, sighting: Sighting) -> None:
        raise AssertionError(f"TFTP sees no MACs: {sighting}")

    def wait_for(self, text: str, seconds: float = 10) -> Event:
        """The first event whose message holds ``text``."""
        with self.changed:
            if not self.changed.wait_for(lambda: any(text in e.message for e in self.events), seconds):
                raise AssertionError(f"no event says {text!r}: {[e.message for e in self.events]}")
            return next(e for e in self.events if text in e.message)


@dataclass
class Serving:
    """What a test needs to know of the running server."""

    server: TftpServer
    recorder: Recorder
    thread: threading.Thread

    @property
    def port(self) -> int:
        return self.server.addresses[0][1]


@contextmanager
def serving(
    root: Path,
    *,
    inventory: Inventory | None = None,
    virtual: Virtual | None = None,
    limits: Limits | None = None,
    listen: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[Serving]:
    """A server on a free port; stopped at the end."""
    recorder = Recorder()
    server = TftpServer(
        root,
        [(ip_address(listen), port)],
        FixedSnapshot(inventory or Inventory()),
        recorder,
        virtual=virtual,
        limits=limits,
    )
    thread = threading.Thread(target=server.run, name="tftp", daemon=True)
    thread.start()
    made = Serving(server, recorder, thread)
    try:
        yield made
    finally:
        server.stop()
        thread.join(10)
    assert not thread.is_alive(), "the server did not stop"
