"""Sockets around ``respond``: receive, decide, commit the effects, send, tell the observer.

One UDP socket an interface, bound to its device, so that a packet's wire is known and the answer leaves by it; one
packet socket beside it for clients that cannot answer ARP yet. One thread, one epoll loop, no lock: an answer
takes some fifty microseconds, and nothing in the loop waits for a disk or another process.
"""

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from provisioner.dhcp.frame import udp_frame
from provisioner.dhcp.leases import Effect, HeldBack, HoldBack, Sight
from provisioner.dhcp.reply import SERVER_PORT, Reply, Via
from provisioner.dhcp.respond import Context, Decision, Mode, handle
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import Observer, SnapshotSource

log = structlog.get_logger(__name__)

_PKTINFO = struct.Struct("@i4s4s")
_IP_PKTINFO = 8
"""From <linux/in.h>; the socket module has no name for it."""
_LARGEST = 4096
_BURST = 64
"""Datagrams read from one socket before the others get their turn."""
_RECEIVE_BUFFER = 4 << 20
"""Some 3,000 DISCOVERs: a whole room that is powered on at once waits here, not in the clients' back-off."""


@dataclass(frozen=True, slots=True)
class Served:
    """An interface to serve, and our address on it."""

    name: str
    address: IPv4Address
    mode: Mode = Mode.AUTHORITATIVE


@dataclass(slots=True)
class Counters:
    """What the loop has done since it started."""

    received: int = 0
    sent: int = 0
    ignored: int = 0
    faults: int = 0
    """Datagrams whose handling raised, or whose answer could not be sent."""


class DhcpServer:
    """Serves DHCP on several interfaces. ``run`` blocks until ``stop``, which any thread or signal may call.

    ``clock``: UTC microseconds. ``others``: our addresses beyond the served ones. Raises Refused from the
    constructor when an interface cannot be served, naming interface and remedy; no socket is left open then.
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
    ) -> None:
        self.counters = Counters()
        self._snapshots = snapshots
        self._observer = observer
        self._clock = clock
        self._held_back = HeldBack()
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        ours = frozenset((*others, *(served.address for served in interfaces)))
        with ExitStack() as undo:
            undo.callback(self._close)
            for served in interfaces:
                if served.mode is Mode.OFF:
                    continue
                if served.mode is Mode.PROXY:
                    raise Refused(
                        f"dhcp = 'proxy' on {served.name}: only the authoritative and off modes are served",
                        "let Provisioner be the segment's DHCP server, or set dhcp = 'off'",
                    )
                context = Context(
                    served.name,
                    served.address,
                    others=ours - {served.address},
                    mode=served.mode,
                    loaders=loaders,
                    http_port=http_port,
                )
                wire = _Wire(context, port)
                self._selector.register(wire.udp, selectors.EVENT_READ, wire)
            undo.pop_all()

    def run(self) -> None:
        """Answer until ``stop``; then close the sockets."""
        try:
            while not self._stopping.is_set():
                for key, _ in self._selector.select():
                    if isinstance(key.data, _Wire):
                        self._drain(key.data)
        finally:
            self._close()

    def stop(self) -> None:
        """End ``run`` after the datagram in hand. Safe to call more than once."""
        self._stopping.set()
        try:
            self._waker.send(b"\0")
        except OSError:
            return  # run() has closed it already

    def _drain(self, wire: "_Wire") -> None:
        for _ in range(_BURST):
            if self._stopping.is_set():
                return
            try:
                data, unicast = wire.receive()
            except BlockingIOError:
                return
            except OSError as fault:
                # The interface went down (ENETDOWN); it serves again when it is back.
                self._fault(wire.context, fault, "could not receive")
                return
            self.counters.received += 1
            try:
                self._serve(wire, data, unicast)
            except Exception as fault:
                # Whatever one datagram does, the next client is still served.
                self._fault(wire.context, fault, f"could not answer a datagram of {len(data)} bytes")

    def _serve(self, wire: "_Wire", data: bytes, unicast: bool) -> None:
        now = self._clock()
        context = wire.context
        if held_back := self._held_back.current(now):
            context = replace(context, held_back=held_back)
        decision = handle(data, self._snapshots.inventory, context, now, unicast=unicast)
        self._commit(decision.effects)
        if decision.reply is not None:
            wire.send(decision.reply)
            self.counters.sent += 1
        else:
            self.counters.ignored += 1
        self._observer.observe(_event(decision, context, now))

    def _commit(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Sight():
                    self._observer.sight(effect.sighting)
                case HoldBack():
                    self._held_back.add(effect)

    def _fault(self, context: Context, fault: Exception, what: str) -> None:
        self.counters.faults += 1
        log.error("dhcp " + what, interface=context.interface, exc_info=fault)
        message = f"DHCP on {context.interface} {what}: {type(fault).__name__}: {fault}"
        self._observer.observe(Event(Kind.SERVICE, message, self._clock(), actor="dhcp"))

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()) if self._selector.get_map() else []:
            if isinstance(key.data, _Wire):
                key.data.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()


class _Wire:
    """The sockets of one interface."""

    def __init__(self, context: Context, port: int) -> None:
        name = context.interface
        self._port = port
        try:
            self.context = replace(context, ifindex=socket.if_nametoindex(name))
        except OSError:
            raise Refused(f"interface {name} does not exist", "`ip link` lists those that do") from None
        with ExitStack() as undo:
            try:
                self.udp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                self.udp.setblocking(False)
                # No SO_REUSEADDR: with it a second server on the port would silently take every other packet.
                self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
                self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
                self.udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
                # Broadcasts reach no other bind; the device, not the address, keeps this socket to its wire.
                self.udp.bind(("0.0.0.0", port))  # noqa: S104
                # Protocol 0: this socket sends and never receives.
                self._link = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                self._link.bind((name, 0))
            except PermissionError:
                raise Refused(
                    f"DHCP on {name} needs the right to use port {port} and packet sockets",
                    "run as root, or with the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW",
                ) from None
            except OSError as fault:
                raise Refused(
                    f"UDP port {port} on {name} cannot be used: {fault.strerror}",
                    f"if another DHCP server runs here, stop it: `ss -lunp sport = :{port}`",
                ) from fault
            undo.pop_all()
        self._mac = bytes.fromhex(Path(f"/sys/class/net/{name}/address").read_text().strip().replace(":", ""))

    def receive(self) -> tuple[bytes, bool]:
        """A datagram, and whether it was sent to our own address."""
        data, control, _, _ = self.udp.recvmsg(_LARGEST, socket.CMSG_SPACE(_PKTINFO.size))
        for level, kind, value in control:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                _, _, destination = _PKTINFO.unpack(value[: _PKTINFO.size])
                return data, destination == self.context.address.packed
        return data, False

    def send(self, reply: Reply) -> None:
        """Out by this interface, from our address on it."""
        context = self.context
        if reply.via is Via.LINK and reply.mac is not None:
            frame = udp_frame(
                reply.packet,
                source_mac=self._mac,
                destination_mac=reply.mac,
                source=context.address,
                destination=reply.address,
                source_port=self._port,
                destination_port=reply.port,
            )
            self._link.send(frame)
            return
        from_here = _PKTINFO.pack(context.ifindex, context.address.packed, bytes(4))
        self.udp.sendmsg(
            [reply.packet], [(socket.IPPROTO_IP, _IP_PKTINFO, from_here)], 0, (str(reply.address), reply.port)
        )

    def close(self) -> None:
        self.udp.close()
        self._link.close()


def _event(decision: Decision, context: Context, now: int) -> Event:
    data: dict[str, str] = {"interface": context.interface}
    if decision.firmware is not None:
        data["firmware"] = decision.firmware
    return Event(
        decision.kind, decision.reason, now, decision.machine_id, decision.mac, decision.phase, "dhcp", data
    )
