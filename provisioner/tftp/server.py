"""The TFTP service: one thread, one epoll, a socket of its own for every transfer.

Nothing that arrives ends the loop. Whatever is not served leaves an event that says why.
"""

import heapq
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from provisioner.domain.errors import Refused
from provisioner.domain.machine import IPAddress
from provisioner.domain.ports import Observer, SnapshotSource
from provisioner.images.beneath import Missing, Opened, Root
from provisioner.images.descriptors import allow_descriptors
from provisioner.tftp.files import Files, Made, Virtual
from provisioner.tftp.limits import Limits, Rejected, check
from provisioner.tftp.packet import Error, ErrorCode, MalformedPacket, Request, decode, encode
from provisioner.tftp.sockets import (
    Arrival,
    SocketAddress,
    address_of,
    listening,
    mtu_of,
    own_port,
    receive,
    send_from,
    send_window,
)
from provisioner.tftp.timeline import Timeline
from provisioner.tftp.transfer import Transfer

log = structlog.get_logger(__name__)

BURST = 64
"""Datagrams taken from one socket before the others get their turn."""
_ROUND_SECONDS = 1.0
"""The loop comes round so often though nothing happens."""
DUPLICATE_WITHIN = 3.0
"""Seconds: the same request from a client that was just heard is a copy; later it is a client that began anew."""


@dataclass(slots=True)
class _Session:
    """A transfer with its socket and its file."""

    id: int
    """Its own socket's descriptor; in single-port mode a negative number."""
    sock: socket.socket
    way: Arrival
    """How its request came: in single-port mode, answers take the same way back."""
    source: Opened | Made
    transfer: Transfer
    peer: SocketAddress
    ip: IPAddress
    key: tuple[SocketAddress, IPAddress]
    began: float
    unsent: list[tuple[bytes, SocketAddress]] = field(default_factory=list)
    timer: float | None = None
    """When the next entry among the timers is due; not later than the transfer's own."""
    blocked: bool = False
    """The socket's buffer is full; epoll tells when there is room."""
    windows: bool = True
    """A window can be sent by one call; until that fails once."""


class TftpServer:
    """Serves the files beneath ``root``. Made: sockets are bound. ``run`` serves until ``stop``."""

    def __init__(
        self,
        root: Path,
        listen: Sequence[tuple[IPAddress, int]],
        snapshot: SnapshotSource,
        observer: Observer,
        *,
        virtual: Virtual | None = None,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """``monotonic``: seconds for timers; ``now``: UTC microseconds for events. Raises InvalidValue."""
        self._limits = limits or Limits()
        self._files = Files(Root(root), virtual)
        self._timeline = Timeline(snapshot, observer, now)
        self._monotonic = monotonic
        self._listening: dict[int, socket.socket] = {}
        self._sessions: dict[int, _Session] = {}
        self._by_key: dict[tuple[SocketAddress, IPAddress], _Session] = {}
        self._per_ip: Counter[IPAddress] = Counter()
        self._timers: list[tuple[float, int]] = []
        self._next_port = 0
        self.round_at = monotonic()
        """When the loop last came round. Any thread may look."""
        self._drain_until: float | None = None
        self._grace: float | None = None
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        try:
            for ip, port in listen:
                sock = listening(ip, port)
                self._listening[sock.fileno()] = sock
                self._epoll.register(sock, select.EPOLLIN)
        except Refused:
            self._close()
            raise
        allow_descriptors(2 * self._limits.sessions + 256)

    @property
    def addresses(self) -> list[SocketAddress]:
        """Where it listens."""
        return [sock.getsockname() for sock in self._listening.values()]

    @property
    def sessions(self) -> int:
        """Transfers under way."""
        return len(self._sessions)

    def stop(self, grace: float = 0.0) -> None:
        """Take no more requests and return from ``run`` when the transfers are done, after ``grace`` s at most.

        May be called from another thread or a signal handler.
        """
        self._grace = grace
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Serve until ``stop``; then everything is closed."""
        try:
            while not self._finished():
                self.round_at = self._monotonic()
                for fd, mask in self._epoll.poll(self._patience()):
                    self._guarded(fd, partial(self._handle, fd, mask))
                self._fire_timers()
        finally:
            self._close()

    def _guarded(self, fd: int, act: Callable[[], None]) -> None:
        """The last resort: what goes wrong for one client must not end the service for the others."""
        try:
            act()
        except Exception:
            log.exception("tftp: a datagram or timer could not be handled")
            if (session := self._sessions.get(fd)) is not None:
                self._end(session)

    def _handle(self, fd: int, mask: int) -> None:
        if (session := self._sessions.get(fd)) is not None:
            self._continue(session, mask)
        elif (sock := self._listening.get(fd)) is not None:
            for _ in range(BURST):
                arrival = receive(sock)
                if arrival is None:
                    break
                self._admit(sock, arrival)
        elif fd == self._wake:
            os.eventfd_read(self._wake)
            self._drain_until = self._monotonic() + (self._grace or 0.0)

    def _admit(self, sock: socket.socket, arrival: Arrival) -> None:
        """One datagram at the request port."""
        ip = address_of(arrival.peer)
        if arrival.local is None:
            # RFC 1123 §4.2.3.5: a server should ignore a request that is directed to a broadcast address.
            self._timeline.ignored(ip, "a request to a broadcast address; ask the server's own address")
            return
        try:
            packet = decode(arrival.data)
        except MalformedPacket as error:
            self._timeline.ignored(ip, f"a malformed packet: {error}")
            if arrival.data[:2] in (b"\0\1", b"\0\2"):
                self._tell(sock, arrival, ErrorCode.ILLEGAL_OPERATION, str(error))
            return
        if not isinstance(packet, Request):
            if self._limits.single_port and (session := self._by_key.get((arrival.peer, arrival.local))):
                session.transfer.receive_datagram(arrival.data, arrival.peer, self._monotonic())
                self._flush(session)
                return
            self._timeline.ignored(
                ip, f"{type(packet).__name__.upper()} at the request port, where transfers begin"
            )
            return
        try:
            self._begin(sock, arrival, arrival.local, ip, packet)
        except Rejected as refusal:
            self._timeline.refused(ip, packet.filename, str(refusal))
            self._tell(sock, arrival, refusal.code, str(refusal))

    def _begin(
        self, sock: socket.socket, arrival: Arrival, local: IPAddress, ip: IPAddress, request: Request
    ) -> None:
        now = self._monotonic()
        key = (arrival.peer, local)
        if (running := self._by_key.get(key)) is not None:
            fresh = not running.transfer.started or now - running.transfer.heard_at < DUPLICATE_WITHIN
            if running.transfer.request == request and fresh:
                running.transfer.receive_repeated_request(now)
                self._flush(running)
                return
            # The client began anew from the same port (ROMs with a fixed one do): the old transfer is void.
            self._end(running, superseded=True)
        if self._grace is not None:
            raise Rejected(ErrorCode.NOT_DEFINED, "the server is shutting down; ask again in a minute")
        check(request, ip, self._limits, len(self._sessions), self._per_ip[ip])
        with ExitStack() as undo:
            source = self._open(request.filename, ip, local)
            undo.callback(source.close)
            if self._limits.single_port:
                own, number = sock, -1 - self._next_port
                self._next_port += 1
            else:
                own = self._own_port(local, arrival.interface)
                undo.callback(own.close)
                number = own.fileno()
            # IP and UDP headers and TFTP's four bytes must fit into one packet: no fragments (tftp-05).
            room = mtu_of(sock, arrival.interface) - (32 if local.version == 4 else 52)
            transfer = Transfer(
                request,
                source,
                arrival.peer,
                now,
                max_blksize=min(self._limits.max_blksize, room),
                max_windowsize=self._limits.max_windowsize,
            )
            if own is not sock:
                self._epoll.register(own, select.EPOLLIN)
            undo.pop_all()
        session = _Session(number, own, arrival, source, transfer, arrival.peer, ip, key, now)
        self._sessions[number] = session
        self._by_key[key] = session
        self._per_ip[ip] += 1
        self._flush(session)

    def _open(self, name: str, ip: IPAddress, local: IPAddress) -> Opened | Made:
        try:
            return self._files.open(name, ip, local)
        except Missing as error:
            raise Rejected(ErrorCode.FILE_NOT_FOUND, str(error)) from error
        except Refused as error:
            raise Rejected(ErrorCode.ACCESS_VIOLATION, str(error)) from error
        except Exception as error:
            log.exception("tftp: content could not be made", file=name)
            raise Rejected(ErrorCode.NOT_DEFINED, f"{name} could not be made; look at the server's log") from error

    def _own_port(self, local: IPAddress, interface: int) -> socket.socket:
        ports = self._limits.ports
        self._next_port += 1
        try:
            own = own_port(local, interface, ports, self._next_port)
        except OSError as error:
            raise Rejected(
                ErrorCode.NOT_DEFINED, f"no socket for the transfer ({error.strerror}); ask again in a minute"
            ) from error
        if own is None:
            raise Rejected(
                ErrorCode.NOT_DEFINED,
                f"all ports {ports.start}-{ports.stop - 1} are taken; ask again, or raise tftp.last_port",
            )
        return own

    def _continue(self, session: _Session, mask: int) -> None:
        if mask & select.EPOLLIN:
            # One at a time: there is rarely a second one, and epoll tells of it.
            with suppress(BlockingIOError, InterruptedError):
                data, peer = session.sock.recvfrom(2048)
                session.transfer.receive_datagram(data, peer, self._monotonic())
        elif mask & select.EPOLLERR:
            # Reads the pending error off the socket; what was lost is repeated by the timer.
            session.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._flush(session)

    def _flush(self, session: _Session) -> None:
        """Send what the transfer has to say; end the session with it."""
        session.unsent.extend(session.transfer.datagrams_to_send())  # type: ignore[arg-type]
        while session.unsent:
            try:
                sent = self._send(session)
            except BlockingIOError:
                if self._limits.single_port:
                    # The socket is everybody's: what it has no room for is lost, and the timer repeats it.
                    session.unsent.clear()
                break
            except OSError as error:
                # No route, filtered, interface down: a lost packet, and the timer repeats it.
                log.debug("tftp: not sent", peer=session.unsent[0][1][0], error=error.strerror)
                sent = 1
            del session.unsent[:sent]
        if session.transfer.outcome is not None:
            self._end(session)
            return
        if bool(session.unsent) is not session.blocked:
            session.blocked = bool(session.unsent)
            self._epoll.modify(session.sock, select.EPOLLIN | (select.EPOLLOUT if session.unsent else 0))
        timer = session.transfer.get_timer()
        # Each ACK moves the timer on; an entry that is due earlier is enough, and finds the new time then.
        if timer is not None and (session.timer is None or timer < session.timer):
            session.timer = timer
            heapq.heappush(self._timers, (timer, session.id))

    def _send(self, session: _Session) -> int:
        """Send the first, or a whole window by one call, which takes half the time. How many were sent."""
        data, peer = session.unsent[0]
        if session.id < 0:
            send_from(session.sock, data, session.way)
            return 1
        if session.windows and len(session.unsent) > 1:
            if send_window(session.sock, session.unsent):
                return len(session.unsent)
            session.windows = False
        session.sock.sendto(data, peer)
        return 1

    def _fire_timers(self) -> None:
        now = self._monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, fd = heapq.heappop(self._timers)
            session = self._sessions.get(fd)
            # An entry of a session that has ended, or whose timer has moved since, is only a leftover.
            if session is None or session.timer != due:
                continue
            session.timer = None
            self._guarded(fd, partial(self._repeat, session, now))

    def _repeat(self, session: _Session, now: float) -> None:
        timer = session.transfer.get_timer()
        if timer is not None and timer <= now:
            session.unsent.clear()  # Stale: the transfer repeats from the last ACK.
            session.transfer.handle_timer(now)
        self._flush(session)

    def _end(self, session: _Session, *, superseded: bool = False) -> None:
        if session.id >= 0:
            with suppress(OSError):
                self._epoll.unregister(session.sock)
            session.sock.close()
        session.source.close()
        self._sessions.pop(session.id, None)
        self._by_key.pop(session.key, None)
        self._per_ip[session.ip] -= 1
        if not self._per_ip[session.ip]:
            del self._per_ip[session.ip]
        self._timeline.ended(
            session.ip,
            session.transfer,
            session.source.size,
            self._monotonic() - session.began,
            superseded=superseded,
        )

    def _tell(self, sock: socket.socket, arrival: Arrival, code: ErrorCode, reason: str) -> None:
        # Some ROMs have small buffers: an error stays within the smallest packet every client must take.
        try:
            send_from(sock, encode(Error(code, reason[:400].replace("\0", ""))), arrival)
        except OSError as error:
            log.debug("tftp: refusal not sent", peer=arrival.peer[0], error=error.strerror)

    def _patience(self) -> float:
        """Seconds epoll may sleep."""
        due = [self._monotonic() + _ROUND_SECONDS]
        if self._timers:
            due.append(self._timers[0][0])
        if self._drain_until is not None:
            due.append(self._drain_until)
        return max(0.0, min(due) - self._monotonic())

    def _finished(self) -> bool:
        return self._drain_until is not None and (not self._sessions or self._monotonic() >= self._drain_until)

    def _close(self) -> None:
        for session in list(self._sessions.values()):
            self._end(session)
        for sock in self._listening.values():
            sock.close()
        self._files.close()
        self._epoll.close()
        os.close(self._wake)
