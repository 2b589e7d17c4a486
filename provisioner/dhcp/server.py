"""The loop around ``respond``: receive, decide, commit the effects, send, tell the observer.

One thread, one epoll loop, no lock: an answer takes some fifty microseconds, and nothing in the loop waits for a
disk or another process. A lease that must be on disk before its ACK goes to the lease writer's thread. The answer
is sent when it comes back, and those who have reservations are served meanwhile.
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import structlog

from provisioner.dhcp import conflict
from provisioner.dhcp.counting import Counters
from provisioner.dhcp.decision import Cause, Context, Decision, Mode
from provisioner.dhcp.lease_file import LeaseFile, LeaseWriter
from provisioner.dhcp.leases import (
    QUARANTINED_FOR,
    SECOND,
    Bucket,
    HeldBack,
    HoldBack,
    Lease,
    LeaseBook,
    LeaseState,
    Put,
    Sight,
)
from provisioner.dhcp.reply import SERVER_PORT, Reply
from provisioner.dhcp.respond import handle
from provisioner.dhcp.serving import Pace, Served, Serving
from provisioner.dhcp.wire import Datagram, Wire
from provisioner.domain.events import Event, Kind
from provisioner.domain.mac import Mac
from provisioner.domain.option_set import NO_OPTIONS, OptionSet
from provisioner.domain.ports import Observer, SnapshotSource

log = structlog.get_logger(__name__)

_BURST = 256
"""Datagrams read from one socket before the others get their turn; within a burst the listed are answered first."""
_CHADDR = slice(28, 34)
_PROBED_FOR = 3 * SECOND
"""How long after an offer an answer to our ARP probe counts against it."""
_CLOCK_STEP = 5 * SECOND
"""A wall clock that moves more than this beside the monotonic one was set."""
_TEND_SECONDS = 1.0
"""Between two looks at the interfaces."""


@dataclass(slots=True)
class _Answer:
    """A decision that waits for the disk."""

    wire: Wire
    sock: socket.socket
    decision: Decision
    now: int
    undo: list[tuple[Lease, Lease | None]]
    """Leases put, and what they replaced."""


class DhcpServer:
    """Serves DHCP on several interfaces. ``run`` blocks until ``stop``, which any thread or signal may call.

    ``clock``: UTC microseconds; ``steady``: the same unit, never set. ``others``: our addresses beyond the served
    ones. ``lease_file``: without one nobody gets an address of a pool. Raises Refused from the constructor when an
    interface cannot be served, naming interface and remedy; no socket is left open then.
    """

    def __init__(
        self,
        interfaces: Sequence[Served],
        snapshots: SnapshotSource,
        observer: Observer,
        clock: Callable[[], int],
        *,
        loaders: frozenset[str] = frozenset(),
        http_port: int = 80,
        others: Iterable[IPv4Address] = (),
        port: int = SERVER_PORT,
        lease_file: LeaseFile | None = None,
        pace: Pace | None = None,
        role_options: Callable[[str], OptionSet] = lambda _role: NO_OPTIONS,
        steady: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000,
    ) -> None:
        self.counters = Counters()
        pace = pace or Pace()
        self._snapshots = snapshots
        self._observer = observer
        self._clock, self._steady = clock, steady
        self._offset = clock() - steady()
        self._held_back = HeldBack()
        self._book = LeaseBook(newcomers=pace.newcomers)
        self._probed: dict[IPv4Address, tuple[Mac, int]] = {}
        self._servings: list[Serving] = []
        self.round_at = time.monotonic()  # when the loop last came round; any thread may look
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._writer: LeaseWriter | None = None
        self._lease_file = lease_file
        """Opened, and not in use yet."""
        self._to_write: list[tuple[list[Lease], _Answer]] = []
        """Of the burst in hand: they go to the lease writer together."""
        ours = frozenset((*others, *(served.address for served in interfaces)))
        with ExitStack() as undo:
            undo.callback(self._close)
            for served in interfaces:
                if served.mode is Mode.OFF:
                    continue
                context = Context(
                    served.name,
                    served.address,
                    others=ours - {served.address},
                    mode=served.mode,
                    loaders=loaders,
                    http_port=http_port,
                    role_options=role_options,
                    leases=self._book,
                )
                self._servings.append(Serving(Wire(context, port), Bucket(*pace.unlisted), port))
                self._register(self._servings[-1])
            undo.pop_all()
        self._take_lease_file()

    def run(self) -> None:
        """Answer until ``stop``; then close the sockets."""
        try:
            due = time.monotonic() + _TEND_SECONDS
            while not self._stopping.is_set():
                for key, _ in self._selector.select(_TEND_SECONDS):
                    self._ready(key.fileobj, key.data)
                self.round_at = time.monotonic()
                if self.round_at >= due:
                    self._tend()
                    due = self.round_at + _TEND_SECONDS
        finally:
            self._close()

    def stop(self) -> None:
        """End ``run`` after the datagrams in hand. Safe to call more than once."""
        self._stopping.set()
        self._wake_up()

    def lease_counts(self) -> Mapping[str, int]:
        """The pools' addresses by state, for the metrics. Any thread may ask."""
        return self._book.counts(self._clock())

    def use(self, lease_file: LeaseFile) -> None:
        """From now on addresses of pools are given out; the file could not be opened before. Any thread may
        call."""
        self._lease_file = lease_file
        self._wake_up()

    @property
    def lease_fault(self) -> str:
        """Why no address of a pool is given out; empty: they are. Any thread may ask."""
        return self._writer.fault if self._writer is not None else "leases.db could not be opened"

    def _take_lease_file(self) -> None:
        file, self._lease_file = self._lease_file, None
        if file is not None:
            for lease in file.load(self._clock()):
                self._book.put(lease)
            self._writer = LeaseWriter(file, self._wake_up)

    def _register(self, serving: Serving) -> None:
        for sock in serving.wire.receiving:
            self._selector.register(sock, selectors.EVENT_READ, serving)

    def _unregister(self, serving: Serving) -> None:
        for sock in serving.wire.receiving:
            self._selector.unregister(sock)

    def _tend(self) -> None:
        for serving in self._servings:
            if told := serving.tend(self._unregister, self._register):
                log.warning("dhcp: " + told)
                self._observer.observe(Event(Kind.SERVICE, told, self._clock(), actor="dhcp"))

    def _wake_up(self) -> None:
        # Full: it will wake up anyway. Closed: run() has ended already.
        with suppress(OSError):
            self._waker.send(b"\0")

    def _ready(self, sock: object, serving: Serving | None) -> None:
        if serving is None:
            with suppress(BlockingIOError):
                self._wake.recv(4096)
            self._take_lease_file()
            self._finish()
        elif sock is serving.wire.arp:
            self._hear(serving.wire)
        elif isinstance(sock, socket.socket):
            self._drain(serving, sock)

    def _drain(self, serving: Serving, sock: socket.socket) -> None:
        """Read a burst, then answer it: the listed first, of the others as many as their pace allows."""
        now = self._moment()
        wire = serving.wire
        unlisted: list[Datagram] = []
        for _ in range(_BURST):
            if self._stopping.is_set():
                return
            try:
                datagram = wire.receive(sock)
            except BlockingIOError:
                break
            except OSError as fault:
                # The interface went down (ENETDOWN); it serves again when it is back.
                self._fault(wire.context, fault, "could not receive")
                break
            try:
                mac = datagram[0][_CHADDR]
                if mac in self._snapshots.inventory.macs or self._book.knows(mac):
                    self._serve(wire, sock, datagram, now)
                elif serving.unlisted.take(now):
                    unlisted.append(datagram)
                else:
                    self.counters.decisions[wire.context.interface, Kind.DHCP_IGNORED, Cause.SHED] += 1
            except Exception as fault:
                self._unanswered(wire.context, datagram, fault)
        for datagram in unlisted:
            try:
                self._serve(wire, sock, datagram, now)
            except Exception as fault:
                self._unanswered(wire.context, datagram, fault)
        self._make_durable()

    def _unanswered(self, context: Context, datagram: Datagram, fault: Exception) -> None:
        """Whatever one datagram does, the next client is still served."""
        self._fault(context, fault, f"could not answer a datagram of {len(datagram[0])} bytes")

    def _serve(self, wire: Wire, sock: socket.socket, datagram: Datagram, now: int) -> None:
        data, unicast, port = datagram
        context = wire.context
        if held_back := self._held_back.current(now):
            context = replace(context, held_back=held_back)
        boot_port = port if sock is wire.boot else None
        decision = handle(data, self._snapshots.inventory, context, now, unicast=unicast, boot_port=boot_port)
        if not decision.effects:
            self._send(wire, sock, decision, now)
            return
        durable: list[Lease] = []
        undo: list[tuple[Lease, Lease | None]] = []
        for effect in decision.effects:
            match effect:
                case Sight():
                    self._observer.sight(effect.sighting)
                case HoldBack():
                    self._held_back.add(effect)
                case Put():
                    undo.append((effect.lease, self._book.put(effect.lease)))
                    if effect.durable:
                        durable.append(effect.lease)
                    elif effect.lease.state is LeaseState.OFFERED:
                        self._probe(wire, data, effect.lease, now)
        if durable:
            self._to_write.append((durable, _Answer(wire, sock, decision, now, undo)))
        else:
            self._send(wire, sock, decision, now)

    def _make_durable(self) -> None:
        """Hand the burst's leases to the writer; ``_finish`` sends what has become durable."""
        if not self._to_write:
            return
        waiting, self._to_write = self._to_write, []
        if self._writer is not None and self._writer.submit(waiting):
            return
        why = "no lease file is open" if self._writer is None else "too many wait for it"
        for _, answer in waiting:
            self._not_durable(answer, why)

    def _finish(self) -> None:
        """Send what the lease writer has made durable."""
        for ticket, why in self._writer.finished() if self._writer is not None else ():
            if not isinstance(ticket, _Answer):
                continue
            try:
                if why:
                    self._not_durable(ticket, why)
                else:
                    self._send(ticket.wire, ticket.sock, ticket.decision, ticket.now)
            except Exception as fault:
                self._fault(ticket.wire.context, fault, "could not send an answer")

    def _not_durable(self, answer: _Answer, why: str) -> None:
        for lease, before in reversed(answer.undo):
            if self._book.get(lease.address) is lease:
                self._book.take_back(lease.address, before)
        refused = answer.decision._replace(
            reply=None,
            kind=Kind.DHCP_IGNORED,
            cause=Cause.NOT_DURABLE,
            phase=None,
            reason=f"{answer.decision.reason}; not answered, the lease cannot be written ({why}); "
            "machines with reservations are served; free space on data_dir or mend leases.db",
        )
        self._send(answer.wire, answer.sock, refused, answer.now)

    def _send(self, wire: Wire, sock: socket.socket, decision: Decision, now: int) -> None:
        context = wire.context
        if decision.reply is not None:
            try:
                wire.send(decision.reply, sock)
            except OSError as fault:
                decision = _unsent(decision, decision.reply, fault)
        self.counters.decisions[context.interface, decision.kind, decision.cause] += 1
        self._observer.observe(_event(decision, context, now))

    def _probe(self, wire: Wire, data: bytes, lease: Lease, now: int) -> None:
        """Ask the wire about an address that was just offered; ``_hear`` hears who has it."""
        if any(data[24:28]):
            return  # behind a relay: no ARP goes there
        if len(self._probed) > 1000:
            self._probed = {a: entry for a, entry in self._probed.items() if entry[1] > now}
        self._probed[lease.address] = (lease.mac, now + _PROBED_FOR)
        # A probe that cannot be sent must not cost the client its offer.
        with suppress(OSError):
            wire.probe(lease.address)

    def _hear(self, wire: Wire) -> None:
        now = self._moment()
        for _ in range(_BURST):
            try:
                claimed = conflict.claim(wire.arp.recv(128))
            except OSError:
                return
            if claimed is None or (probed := self._probed.get(claimed[0])) is None:
                continue
            address, holder = claimed
            mac, until = probed
            if holder == mac or now > until:
                continue
            del self._probed[address]
            lease = Lease(address, mac, LeaseState.QUARANTINED, now + QUARANTINED_FOR)
            self._book.put(lease)
            self.counters.conflicts += 1
            if self._writer is not None:
                self._writer.submit([([lease], None)])
            why = f"offered {address}, but {holder} answers on it; not given out for {QUARANTINED_FOR // SECOND} s"
            data = {"interface": wire.context.interface, "holder": str(holder)}
            self._observer.observe(Event(Kind.DHCP_DECLINE, why, now, None, mac, None, "dhcp", data))

    def _moment(self) -> int:
        """Now. When the clock was set meanwhile, what was left of every lease is still left."""
        now, steady = self._clock(), self._steady()
        stepped = now - steady - self._offset
        if abs(stepped) > _CLOCK_STEP:
            self._offset += stepped
            self._book.shift(stepped)
            if self._writer is not None:
                self._writer.submit([(self._book.snapshot(), None)])
            why = f"the clock was set by {stepped / SECOND:.0f} s; leases keep the time that they had left"
            log.warning("dhcp: " + why)
            self._observer.observe(Event(Kind.SERVICE, why, now, actor="dhcp"))
        return now

    def _fault(self, context: Context, fault: Exception, what: str) -> None:
        self.counters.faults += 1
        log.error("dhcp " + what, interface=context.interface, exc_info=fault)
        message = f"DHCP on {context.interface} {what}: {type(fault).__name__}: {fault}"
        self._observer.observe(Event(Kind.SERVICE, message, self._clock(), actor="dhcp"))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        for serving in self._servings:
            serving.wire.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()


def _unsent(decision: Decision, reply: Reply, fault: OSError) -> Decision:
    """What the client's timeline is told instead."""
    whom, why = reply.mac or reply.address, fault.strerror or fault
    reason = f"{decision.reason}; not sent to {whom} ({why}): look at our cable, switch port and routes"
    return decision._replace(reply=None, kind=Kind.DHCP_IGNORED, cause=Cause.UNSENT, phase=None, reason=reason)


def _event(decision: Decision, context: Context, now: int) -> Event:
    data: dict[str, str] = {"interface": context.interface}
    if decision.firmware is not None:
        data["firmware"] = decision.firmware
    if decision.switch_port:
        data["switch_port"] = decision.switch_port
    return Event(
        decision.kind, decision.reason, now, decision.machine_id, decision.mac, decision.phase, "dhcp", data
    )
