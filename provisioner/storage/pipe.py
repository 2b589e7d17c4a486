"""Observations for a process of their own.

Writing an event costs more of Python's lock than answering a DHCP packet: beside a writing thread the packet loop
managed 650 exchanges a second of 2,000. ``PipeObserver`` takes observations without waiting and hands them over
some fifty times a second, many in one message; ``write_from`` is the other end. It takes no more than it can
write: what is too much waits here, and beyond that is let go before any work was done for it.
"""

import marshal
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any
from uuid import UUID

from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase
from provisioner.domain.ports import Observer

_LARGEST = 60_000
"""Bytes of one message."""
_TOGETHER = 100
_LINGER_SECONDS = 0.02
"""How long an observation waits for others to travel with: each message wakes a process."""
_CAPACITY = 10_000
"""Observations that may wait for the other end; more are counted and dropped."""
_LOOK_SECONDS = 0.1
"""How often an end that has no room looks whether the other one is still there."""
_GIVE_UP_SECONDS = 0.5
"""How long an end that takes nothing is waited for when this one closes."""
_BUFFER = 4 << 20
_END = b""
_Row = tuple[Any, ...]
_PLAIN: Mapping[str, str] = {member: str(member) for member in (*Kind, *Phase)}
_KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}
"""Members of enums do not travel; what they are written as does."""
_SIGHTING = ("source", "at", "detail", "enrol", "firmware", "switch_port")
"""A sighting's fields after its MAC; an event has another number of them."""


def pipe() -> tuple[socket.socket, socket.socket]:
    """Both ends; datagrams keep their borders."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return here, there


class PipeObserver:
    """Implements ``ports.Observer`` by handing everything to another process. Never blocks, never raises.

    What the other end is too slow for is counted in ``dropped_total`` and, when there is room again, told as an
    event. ``service``: who observes. Starts a thread: make it after forking.
    """

    def __init__(self, end: socket.socket, service: str) -> None:
        self._end = end
        self._end.settimeout(0.1)
        self._service = service
        self.dropped_total = 0
        self._untold = 0
        self._waiting: list[_Row] = []
        self._some = threading.Event()
        self._closing = False
        self._gone = False
        self._thread = threading.Thread(target=self._hand_over, name="observations", daemon=True)
        self._thread.start()

    def observe(self, event: Event) -> None:
        if self._room():
            self._put(_row(event))

    def sight(self, sighting: Sighting) -> None:
        if self._room():
            self._put((bytes(sighting.mac), *(getattr(sighting, name) for name in _SIGHTING)))

    def close(self) -> None:
        """Hand over what waits. The other end writes it, and ends."""
        self._closing = True
        self._some.set()
        self._thread.join()
        self._end.close()

    def _room(self) -> bool:
        if len(self._waiting) < _CAPACITY and not self._gone:
            return True
        self.dropped_total += 1
        self._untold += 1
        return False

    def _put(self, row: _Row) -> None:
        # One step under Python's lock, as is taking from the front: there is no lock of our own.
        self._waiting.append(row)
        if not self._some.is_set():
            self._some.set()

    def _hand_over(self) -> None:
        while not self._gone and (self._waiting or not self._closing):
            self._some.wait()
            if not self._closing:
                time.sleep(_LINGER_SECONDS)
            # Cleared before looking: what comes from here on sets it again.
            self._some.clear()
            while rows := self._waiting[:_TOGETHER]:
                if not self._send(rows):
                    self._gone = True
                    break
                del self._waiting[: len(rows)]
            self._tell_dropped()
        self.dropped_total += len(self._waiting)

    def _tell_dropped(self) -> None:
        if (count := self._untold) and not self._gone:
            self._untold -= count
            message = f"{count} observations of {self._service} were not kept; too many waited for the database"
            self._put(_row(Event(Kind.SERVICE, message, time.time_ns() // 1000, data={"dropped": count})))

    def _send(self, rows: list[_Row]) -> bool:
        """False when nobody takes it any more."""
        message = _packed(rows)
        if not message:
            # One of them is none that could travel; the others do.
            if len(rows) == 1:
                self.dropped_total += 1
                return True
            half = len(rows) // 2
            return self._send(rows[:half]) and self._send(rows[half:])
        give_up = None
        while True:
            try:
                self._end.send(message)
            except TimeoutError:
                # The other end is behind. While the service runs there is time; what comes meanwhile is counted.
                now = time.monotonic()
                give_up = give_up or (now + _GIVE_UP_SECONDS if self._closing else None)
                if give_up is not None and now > give_up:
                    return False
            except OSError:
                return False
            else:
                return True


def _packed(rows: list[_Row]) -> bytes:
    """One message, or nothing when these do not make one."""
    try:
        message = marshal.dumps(rows)
    except ValueError:
        return b""
    return message if len(message) <= _LARGEST else b""


def _row(event: Event) -> _Row:
    machine_id, mac, phase = event.machine_id, event.mac, event.phase
    return (
        _PLAIN[event.kind],
        event.message,
        event.at,
        machine_id.bytes if machine_id is not None else None,
        bytes(mac) if mac is not None else None,
        _PLAIN[phase] if phase is not None else None,
        event.actor,
        {key: str(value) for key, value in event.data.items()},
    )


def write_from(
    end: socket.socket, observer: Observer, has_room: Callable[[float], bool] = lambda _seconds: True
) -> None:
    """Pass everything on to ``observer`` until the other process closes its end or dies.

    ``has_room``: waits so many seconds at most until the observer may take more. Until then nothing is read, unless
    the other process has ended: what it left behind is passed on anyway.
    """
    ended = select.poll()
    ended.register(end, select.POLLRDHUP)
    with suppress(ConnectionError), end:
        while True:
            while not (has_room(_LOOK_SECONDS) or ended.poll(0)):
                pass
            if (message := end.recv(_LARGEST)) == _END:
                return
            # Only our own process holds the other end: what it marshals is trusted.
            for row in marshal.loads(message):  # noqa: S302
                if len(row) == 1 + len(_SIGHTING):
                    observer.sight(Sighting(Mac(row[0]), *row[1:]))
                else:
                    observer.observe(_event(row))


@lru_cache(20_000)
def _uuid(raw: bytes) -> UUID:
    """Machines are seen again and again; to make their ids takes as long as all the rest of an event."""
    return UUID(bytes=raw)


def _event(row: _Row) -> Event:
    kind, message, at, machine_id, mac, phase, actor, data = row
    return Event(
        _KINDS[kind],
        message,
        at,
        _uuid(machine_id) if machine_id else None,
        Mac(mac) if mac else None,
        Phase(phase) if phase else None,
        actor,
        data,
    )
