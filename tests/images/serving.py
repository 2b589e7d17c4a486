"""The image server in a thread of the test, with its own loop, as the service runs it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.domain.events import Event, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.images.containers import ContainerStore
from provisioner.images.payload import PayloadStore
from provisioner.images.server import create_app, listening
from provisioner.images.store import ImageStore
from provisioner.images.traffic import Traffic

NOW = 1_700_000_000_000_000


@dataclass
class FixedSnapshot:
    """A snapshot that stays as it is."""

    inventory: Inventory = field(default_factory=Inventory)


@dataclass
class Recorder:
    """An observer that keeps what it was told."""

    events: list[Event] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def sight(self, sighting: Sighting) -> None:
        raise AssertionError(f"the image server sees no MACs: {sighting}")


@dataclass
class Serving:
    """What a test needs to know of the running server."""

    port: int
    store: ImageStore
    payload: Path
    recorder: Recorder
    containers: ContainerStore

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    data: Path,
    *,
    inventory: Inventory | None = None,
    header_seconds: float = 20,
    at_once: int = 256,
    pace: int = 0,
    stall_seconds: float = 300,
) -> Iterator[Serving]:
    """Images under ``data/images``, payload under ``data/payload``, on a free port of loopback."""
    store, recorder = ImageStore(data / "images"), Recorder()
    containers = ContainerStore(data / "containers")
    snapshot = FixedSnapshot(inventory or Inventory())
    app = create_app(
        store,
        PayloadStore(data / "payload"),
        snapshot,
        recorder,
        lambda: NOW,
        containers,
        Traffic(snapshot, at_once, pace, stall_seconds),
    )
    ready, stop = threading.Event(), asyncio.Event()
    made = Serving(0, store, data / "payload", recorder, containers)
    runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)

    async def run() -> None:
        async with listening(app, "127.0.0.1", 0, header_seconds) as port:
            made.port = port
            ready.set()
            await stop.wait()

    def work() -> None:
        with runner:
            runner.run(run())

    loop = runner.get_loop()
    thread = threading.Thread(target=work, name="images", daemon=True)
    thread.start()
    assert ready.wait(10), "the server did not start"
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    assert not thread.is_alive(), "the server did not stop"
