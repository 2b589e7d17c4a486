"""The server on a real wire, asked by hand-made packets."""

import os
import socket
import sys
import threading
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.dhcp.packet import decode
from provisioner.dhcp.respond import Mode
from provisioner.dhcp.server import DhcpServer
from provisioner.dhcp.serving import Served
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from tests.netns import Wire, sh

from .on_wire import Running, asked, inside, udhcpc
from .rack import (
    ACK,
    DISCOVER,
    FAR_IP,
    FAR_MAC,
    INFORM,
    IP,
    MAC,
    NAK,
    OFFER,
    RELAY,
    REQUEST,
    SERVER,
    STRANGER,
    SYSTEM,
    Asker,
    pxe,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
]


# Listens for one frame to its MAC on a client that has no address, and prints it in hex.
SNIFFER = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
s.bind(("eth0", 0x0800))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
u.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
u.bind(("0.0.0.0", 68))
u.sendto(bytes.fromhex(sys.argv[1]), ("255.255.255.255", 67))
s.settimeout(5)
while True:
    frame, where = s.recvfrom(4096)
    if where[2] != socket.PACKET_OUTGOING and frame[36:38] == b"\\x00\\x44":
        print(frame.hex())
        break
"""


def test_a_stranger_gets_nothing_and_is_sighted(on: Wire, server: Running, script: Path) -> None:
    assert "GOT" not in udhcpc(on, "stranger", script)
    events = server.until(lambda event: event["kind"] == "dhcp.ignored")
    assert [event["kind"] for event in events] == ["sighting", "dhcp.ignored"]
    assert {event["mac"] for event in events} == {str(STRANGER)}
    assert "unknown MAC; subnet 10.98.0.0/24 ignores such machines" in events[-1]["message"]


@pytest.mark.rule("dhcp-01")
def test_a_client_without_address_is_reached_by_a_frame_without_arp(on: Wire, server: Running) -> None:
    sh("ip", "-n", on.server, "neigh", "flush", "all")
    frame = bytes.fromhex(inside(on, "node", sys.executable, "-c", SNIFFER, pxe(7).bytes(DISCOVER).hex()))
    assert frame[:6] == MAC
    assert (frame[26:30], frame[30:34]) == (SERVER.packed, IP.packed)
    assert int.from_bytes(frame[34:36], "big") == 67
    offer = decode(frame[42:])
    assert (offer.options[53], offer.yiaddr, offer.file) == (OFFER, IP, b"snponly.efi")
    # The address was not asked for on the way: nobody could have answered.
    assert str(IP) not in sh("ip", "-n", on.server, "neigh").stdout
    assert server.until(lambda e: e["kind"] == "dhcp.offer")[-1]["phase"] == "firmware"


@pytest.mark.rule("dhcp-01")
@pytest.mark.rule("dhcp-03")
def test_broadcast_answers_come_from_port_67_of_our_address(on: Wire, server: Running) -> None:
    address, port, payload = asked(on, "node", replace(SYSTEM, flags=0x8000).bytes(DISCOVER))
    assert (address, port) == (str(SERVER), "67")
    assert decode(bytes.fromhex(payload)).yiaddr == IP
    *_, payload = asked(on, "node", SYSTEM.bytes(REQUEST, {50: IPv4Address("10.98.0.99").packed}))
    assert decode(bytes.fromhex(payload)).options[53] == NAK


@pytest.mark.rule("dhcp-02")
def test_a_relay_is_answered_on_its_server_port(on: Wire, server: Running) -> None:
    # As a real relay does: unicast to the server, from port 67, giaddr on the client's network.
    relayed = Asker({82: b"\x01\x04ge-7"}, mac=FAR_MAC).bytes(DISCOVER, giaddr=RELAY, hops=1)
    address, port, payload = asked(on, "relay", relayed, port=67, to=str(SERVER))
    offer = decode(bytes.fromhex(payload))
    assert (address, port) == (str(SERVER), "67")
    assert (offer.yiaddr, offer.giaddr, offer.options[82]) == (FAR_IP, RELAY, b"\x01\x04ge-7")


@pytest.mark.rule("dhcp-10")
def test_inform_is_answered_at_the_clients_address(on: Wire, server: Running) -> None:
    sh("ip", "-n", on.clients["node"], "addr", "add", "10.98.0.17/24", "dev", "eth0")
    *_, payload = asked(on, "node", SYSTEM.bytes(INFORM, ciaddr=IP), to=str(SERVER))
    ack = decode(bytes.fromhex(payload))
    assert (ack.options[53], ack.yiaddr.packed) == (ACK, bytes(4))


@pytest.mark.rule("dhcp-08")
def test_a_declined_address_is_not_offered_at_once(on: Wire, server: Running) -> None:
    asked(on, "node", SYSTEM.bytes(b"\x04", {50: IP.packed, 54: SERVER.packed}), wait=0.1)
    assert "another device answers" in server.until(lambda e: e["kind"] == "dhcp.decline")[-1]["message"]
    assert asked(on, "node", replace(SYSTEM, flags=0x8000).bytes(DISCOVER), wait=0.3) == []
    assert "was declined" in server.until(lambda e: e["kind"] == "dhcp.ignored")[-1]["message"]


def test_a_fault_while_answering_is_told_and_the_next_client_is_served(on: Wire, server: Running) -> None:
    server.command("fault")
    question = replace(SYSTEM, flags=0x8000).bytes(DISCOVER)
    assert asked(on, "node", question, wait=0.3) == []
    told = server.until(lambda event: event["kind"] == "service")[-1]["message"]
    assert told == "DHCP on br0 could not answer a datagram of 548 bytes: RuntimeError: a fault on purpose"
    assert asked(on, "node", question)


def test_junk_is_explained_and_the_next_client_is_served(on: Wire, server: Running) -> None:
    for junk in (b"x", b"\0" * 239, os.urandom(600), SYSTEM.bytes(DISCOVER)[:242]):
        asked(on, "stranger", junk, wait=0.01)
        server.until(lambda event: event["kind"] == "dhcp.ignored")
    assert asked(on, "node", replace(SYSTEM, flags=0x8000).bytes(DISCOVER))


class Nothing:
    inventory = Inventory()

    def observe(self, event: object) -> None: ...
    def sight(self, sighting: object) -> None: ...


def refusal(*interfaces: Served, port: int) -> str:
    with pytest.raises(Refused) as refused:
        DhcpServer(interfaces, Nothing(), Nothing(), lambda: 0, port=port)
    return str(refused.value)


def test_what_cannot_be_served_is_refused_with_a_remedy() -> None:
    home = IPv4Address("127.0.0.1")
    assert "interface none0 does not exist; `ip link` lists" in refusal(Served("none0", home), port=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = other.getsockname()[1]
        assert "Address already in use; if another DHCP server runs here" in refusal(Served("lo", home), port=taken)
        # A refused server holds no port: what it had opened before is closed again.
        free = DhcpServer([], Nothing(), Nothing(), lambda: 0, port=taken)
    free.stop()
    free.run()


def test_an_interface_that_is_off_is_not_listened_on() -> None:
    server = DhcpServer([Served("none0", IPv4Address("127.0.0.1"), Mode.OFF)], Nothing(), Nothing(), lambda: 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    server.stop()
    thread.join(5)
    assert not thread.is_alive()
