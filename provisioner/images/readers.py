"""Which machine began to read which file: the timeline's early view of a live system."""

from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import IPAddress, Phase
from provisioner.domain.ports import Observer, SnapshotSource
from provisioner.images.layout import is_kernel

SAME_READ = 30_000_000
"""Microseconds: a repeated start of the same file within this time is the same read, tried again."""
REMEMBERED = 10_000
"""Starts kept to tell a repetition from a new read."""


class Readers:
    """Observes each start of a read by a machine that is known by its address, once, not once a range."""

    def __init__(self, snapshot: SnapshotSource, observer: Observer, clock: Callable[[], int]) -> None:
        """``clock``: UTC microseconds."""
        self._snapshot = snapshot
        self._observer = observer
        self._clock = clock
        self._begun: OrderedDict[tuple[UUID, str], int] = OrderedDict()

    def began(self, ip: IPAddress, path: str, name: str, size: int) -> None:
        """A read from the first byte on. ``size``: bytes that are sent."""
        machine = self._snapshot.inventory.by_ip(ip)
        if machine is None:
            return  # Mirrors, people and probes read here too; there is no timeline for them.
        now, key = self._clock(), (machine.id, path)
        before = self._begun.pop(key, None)
        self._begun[key] = now
        if len(self._begun) > REMEMBERED:
            self._begun.popitem(last=False)
        if before is not None and 0 <= now - before < SAME_READ:
            return
        self._observer.observe(
            Event(
                kind=Kind.IMAGE_READ,
                message=f"reads {name}, {size / 1_000_000:.1f} MB",
                at=now,
                machine_id=machine.id,
                phase=Phase.KERNEL if is_kernel(name) else None,
                actor="images",
                data={"ip": str(ip), "path": path, "bytes": size},
            )
        )
