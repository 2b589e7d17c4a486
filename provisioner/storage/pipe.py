"""Observations for a process of their own.

Writing an event costs more of Python's lock than answering a DHCP packet: beside a writing thread the packet loop
managed 650 exchanges a second of 2,000. ``PipeObserver`` hands observations over without waiting; ``write_from`` is
the other end.
"""

import marshal
import socket
from contextlib import suppress
from typing import Any
from uuid import UUID

from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase
from provisioner.domain.ports import Observer

_LARGEST = 60_000
_BUFFER = 4 << 20
_END = b""


def pipe() -> tuple[socket.socket, socket.socket]:
    """Both ends; datagrams keep their borders."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    here.setblocking(False)
    return here, there


class PipeObserver:
    """Implements ``ports.Observer`` by handing everything to another process. Never blocks, never raises.

    What the other end is too slow for is counted in ``dropped_total``.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.dropped_total = 0

    def observe(self, event: Event) -> None:
        self._send(
            (
                event.kind.value,
                event.message,
                event.at,
                event.machine_id.bytes if event.machine_id is not None else None,
                bytes(event.mac) if event.mac is not None else None,
                event.phase.value if event.phase is not None else None,
                event.actor,
                {key: str(value) for key, value in event.data.items()},
            )
        )

    def sight(self, sighting: Sighting) -> None:
        self._send((bytes(sighting.mac), sighting.source, sighting.at, sighting.detail))

    def close(self) -> None:
        """The other end writes what it has, and ends."""
        self._end.close()

    def _send(self, what: tuple[Any, ...]) -> None:
        try:
            self._end.send(marshal.dumps(what))
        except (OSError, ValueError):
            self.dropped_total += 1


def write_from(end: socket.socket, observer: Observer) -> None:
    """Pass everything on to ``observer`` until the other process closes its end or dies."""
    with suppress(ConnectionError), end:
        while (data := end.recv(_LARGEST)) != _END:
            # Only our own process holds the other end: what it marshals is trusted.
            what = marshal.loads(data)  # noqa: S302
            if len(what) == 4:
                mac, source, at, detail = what
                observer.sight(Sighting(Mac(mac), source, at, detail))
            else:
                observer.observe(_event(what))


def _event(what: tuple[Any, ...]) -> Event:
    kind, message, at, machine_id, mac, phase, actor, data = what
    return Event(
        Kind(kind),
        message,
        at,
        UUID(bytes=machine_id) if machine_id else None,
        Mac(mac) if mac else None,
        Phase(phase) if phase else None,
        actor,
        data,
    )
