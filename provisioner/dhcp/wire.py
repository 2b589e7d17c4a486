"""The sockets of one served interface."""

import socket
import struct
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from provisioner.dhcp import conflict
from provisioner.dhcp.decision import Context, Mode
from provisioner.dhcp.frame import udp_frame
from provisioner.dhcp.reply import Reply, Via
from provisioner.domain.errors import Refused

BOOT_SERVER_PORT = 4011
_PKTINFO = struct.Struct("@i4s4s")
_ROOM = socket.CMSG_SPACE(_PKTINFO.size)
_IP_PKTINFO = 8
"""From <linux/in.h>; the socket module has no name for it."""
_SO_RCVBUFFORCE = 33
_LARGEST = 4096
_RECEIVE_BUFFER = 4 << 20
"""Some 3,000 DISCOVERs: a whole room that is powered on at once waits here, not in the clients' back-off."""

Datagram = tuple[bytes, bool, int]
"""Payload, was it sent to our own address, and the port it came from."""


class Wire:
    """UDP bound to the device, so that a packet's wire is known and the answer leaves by it; a packet socket for
    clients that cannot answer ARP yet; one for ARP; beside another DHCP server also port 4011. Raises Refused."""

    def __init__(self, context: Context, port: int) -> None:
        name = context.interface
        self._port = port
        try:
            self.context = replace(context, ifindex=socket.if_nametoindex(name))
        except OSError:
            raise Refused(f"interface {name} does not exist", "`ip link` lists those that do") from None
        from_here = _PKTINFO.pack(self.context.ifindex, context.address.packed, bytes(4))
        self._from_here = [(socket.IPPROTO_IP, _IP_PKTINFO, from_here)]
        self._ours = context.address.packed
        self._mac = bytes.fromhex(Path(f"/sys/class/net/{name}/address").read_text().strip().replace(":", ""))
        self.boot: socket.socket | None = None
        with ExitStack() as undo:
            self.udp = undo.enter_context(self._udp(port))
            if context.mode is Mode.PROXY:
                self.boot = undo.enter_context(self._udp(BOOT_SERVER_PORT))
            try:
                # Protocol 0: this socket sends and never receives.
                self._link = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                self._link.bind((name, 0))
                # A link that takes nothing, held up by pause frames say, must not hold up the other wires.
                self._link.setblocking(False)
                protocol = socket.htons(conflict.ETHERTYPE)
                self.arp = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, protocol))
                self.arp.setblocking(False)
                self.arp.bind((name, conflict.ETHERTYPE))
            except PermissionError:
                raise self._rights(port) from None
            undo.pop_all()

    @property
    def receiving(self) -> list[socket.socket]:
        """The sockets that something may come in by."""
        return [sock for sock in (self.udp, self.boot, self.arp) if sock is not None]

    def receive(self, sock: socket.socket) -> Datagram:
        """One datagram of ``udp`` or ``boot``. Raises BlockingIOError when there is none, else OSError."""
        data, control, _, source = sock.recvmsg(_LARGEST, _ROOM)
        # Nothing but IP_PKTINFO was asked for: ifindex, our address on that interface, the datagram's destination.
        return data, bool(control) and control[0][2][8:12] == self._ours, source[1]

    def send(self, reply: Reply, sock: socket.socket | None = None) -> None:
        """Out by this interface, from our address on it and from the port that was asked."""
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
        to = (socket.inet_ntoa(reply.address.packed), reply.port)
        (sock or self.udp).sendmsg([reply.packet], self._from_here, 0, to)

    def probe(self, address: IPv4Address) -> None:
        """Ask the wire who has this address."""
        self._link.send(conflict.probe(address, self._mac))

    def close(self) -> None:
        for sock in (self.udp, self.boot, self.arp, self._link):
            if sock is not None:
                sock.close()

    def _udp(self, port: int) -> socket.socket:
        name = self.context.interface
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            # No SO_REUSEADDR: with it a second server on the port would silently take every other packet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            # Beyond net.core.rmem_max, 200 packets on a stock kernel, only with CAP_NET_ADMIN.
            with suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            # Broadcasts reach no other bind; the device, not the address, keeps this socket to its wire.
            sock.bind(("0.0.0.0", port))  # noqa: S104
        except PermissionError:
            sock.close()
            raise self._rights(port) from None
        except OSError as fault:
            sock.close()
            raise Refused(
                f"UDP port {port} on {name} cannot be used: {fault.strerror}",
                f"if another DHCP server runs here, stop it: `ss -lunp sport = :{port}`",
            ) from fault
        return sock

    def _rights(self, port: int) -> Refused:
        return Refused(
            f"DHCP on {self.context.interface} needs the right to use port {port} and packet sockets",
            "run as root, or with the capabilities CAP_NET_BIND_SERVICE and CAP_NET_RAW",
        )
