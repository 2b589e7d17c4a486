"""The server on a real wire, asked by the clients that Debian ships and by hand-made packets."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.dhcp.packet import decode
from provisioner.dhcp.respond import Mode
from provisioner.dhcp.server import DhcpServer, Served
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from tests.netns import Wire, sh, wire

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
    SECOND_MAC,
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

ROOT = Path(__file__).parents[2]
Said = dict[str, str]

# Sends one datagram from port 68 (or 67, as a relay) and prints every answer's source and payload, in hex.
CLIENT = """
import socket, sys
port, timeout, target, payload = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.argv[4])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("0.0.0.0", port))
s.settimeout(timeout)
s.sendto(payload, (target, 67))
try:
    data, source = s.recvfrom(4096)
    print(source[0], source[1], data.hex())
except TimeoutError:
    pass
"""

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


@dataclass
class Running:
    """A server in a namespace, and what it said."""

    process: subprocess.Popen[str]
    lines: "queue.Queue[Said]"

    def until(self, wanted: Callable[[Said], bool], seconds: float = 10) -> list[Said]:
        """Everything said up to the first wanted entry, which is the last of the list."""
        deadline = time.monotonic() + seconds
        said: list[Said] = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                said.append(self.lines.get(timeout=left))
            except queue.Empty:
                break
            if wanted(said[-1]):
                return said
        raise AssertionError(f"not said within {seconds} s; said was {said}")

    def command(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self.until(lambda said: said["kind"] == "obeyed")


@contextmanager
def served(on: Wire, *more: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*on.exec(on.server), sys.executable, "-m", "tests.dhcp.serve", "br0", on.address, *more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[Said] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.put(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    running = Running(process, lines)
    try:
        running.until(lambda said: said["kind"] == "serving")
        yield running
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        reader.join(10)


@pytest.fixture(scope="module")
def on() -> Iterator[Wire]:
    with wire("10.98.0.1/24") as made:
        made.plug("node", str(MAC))
        made.plug("second", str(SECOND_MAC))
        made.plug("stranger", str(STRANGER))
        # The relay's own wire behind it is not needed: it is asked about by its address there, giaddr.
        made.plug("relay", "52:54:00:98:0f:01", "10.98.0.250/24")
        sh("ip", "-n", made.clients["relay"], "addr", "add", f"{RELAY}/24", "dev", "lo")
        sh("ip", "-n", made.server, "route", "add", "10.99.0.0/24", "via", "10.98.0.250")
        yield made


@pytest.fixture
def server(on: Wire) -> Iterator[Running]:
    with served(on) as running:
        yield running
    for namespace in on.clients.values():
        if namespace != on.clients["relay"]:
            sh("ip", "-n", namespace, "addr", "flush", "dev", "eth0", "scope", "global")


def inside(on: Wire, client: str, *argv: str, check: bool = True) -> str:
    done = sh(*on.exec(on.clients[client]), *argv, check=check, timeout=40)
    return done.stdout + done.stderr


def asked(
    on: Wire, client: str, payload: bytes, port: int = 68, to: str = "255.255.255.255", wait: float = 5
) -> list[str]:
    return inside(on, client, sys.executable, "-c", CLIENT, str(port), str(wait), to, payload.hex()).split()


def udhcpc(on: Wire, client: str, script: Path, *more: str) -> str:
    return inside(
        on,
        client,
        "udhcpc",
        "-i",
        "eth0",
        "-f",
        "-q",
        "-n",
        "-t",
        "2",
        "-T",
        "1",
        "-s",
        str(script),
        *more,
        check=False,
    )


def test_udhcpc_gets_the_reserved_address(on: Wire, server: Running, script: Path) -> None:
    said = udhcpc(on, "node", script)
    assert (
        "GOT bound ip=10.98.0.17 mask=24 router=10.98.0.254 dns=10.98.0.2 10.98.0.3 lease=7200 "
        "server=10.98.0.1 host=node17"
    ) in said
    events = server.until(lambda event: event["kind"] == "dhcp.ack")
    assert [event["kind"] for event in events] == ["dhcp.offer", "dhcp.ack"]
    assert {event["mac"] for event in events} == {str(MAC)}


def test_udhcpc_uses_the_options_that_are_stated_for_its_machine(on: Wire, server: Running, script: Path) -> None:
    wishes = [word for name in ("mtu", "search", "ntpsrv", "staticroutes") for word in ("-O", name)]
    said = udhcpc(on, "node", script, *wishes)
    routes = "10.97.0.0/16 10.98.0.7 0.0.0.0/0 10.98.0.254"
    assert f"OPTIONS mtu=1400 search=rack.example example ntp=10.98.0.40 routes={routes}" in said
    unasked = udhcpc(on, "node", script, "-o", "-O", "dns")
    assert "OPTIONS mtu= search= ntp= routes=" in unasked


def test_udhcpc_that_wants_broadcasts_gets_them(on: Wire, server: Running, script: Path) -> None:
    assert "GOT bound ip=10.98.0.17" in udhcpc(on, "node", script, "-B")


def test_two_clients_at_once_get_each_its_own(on: Wire, server: Running, script: Path) -> None:
    told: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda c=client: told.update({c: udhcpc(on, c, script)}))  # type: ignore[misc]
        for client in ("node", "second")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert "GOT bound ip=10.98.0.17" in told["node"]
    assert "GOT bound ip=10.98.0.18" in told["second"]


@pytest.mark.rule("dhcp-06")
@pytest.mark.rule("dhcp-09")
def test_udhcpc_renews_and_releases(on: Wire, server: Running, script: Path) -> None:
    # USR1 makes it renew, USR2 release; both by unicast from its address.
    process = subprocess.Popen(
        [*on.exec(on.clients["node"]), "udhcpc", "-i", "eth0", "-f", "-R", "-t", "3", "-T", "1", "-s", str(script)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server.until(lambda event: event["kind"] == "dhcp.ack")
        # The lease's script has run when the address is there; only then can it renew from it.
        until(lambda: "10.98.0.17" in inside(on, "node", "ip", "-4", "addr", "show", "eth0"))
        process.send_signal(10)
        assert "renewed 10.98.0.17;" in server.until(lambda e: e["kind"] == "dhcp.ack")[-1]["message"]
        process.send_signal(12)
        assert server.until(lambda e: e["kind"] == "dhcp.release")[-1]["mac"] == str(MAC)
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.rule("dhcp-05")
def test_dhclient_gets_the_reserved_address_and_comes_back_with_it(
    on: Wire, server: Running, tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(
        '#!/bin/sh\ncase "$reason" in BOUND|REBOOT|RENEW) ip addr replace "$new_ip_address/24" dev eth0;; esac\n'
        'echo "$new_interface_mtu|$new_domain_search|$new_ntp_servers|$new_rfc3442_classless_static_routes" '
        f">> {tmp_path / 'told'}\n"
    )
    hook.chmod(0o755)
    conf = tmp_path / "dhclient.conf"
    # As Debian's own dhclient.conf.
    conf.write_text(
        "timeout 8;\n"
        "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
        "request subnet-mask, routers, interface-mtu, domain-search, ntp-servers,"
        " rfc3442-classless-static-routes;\n"
    )
    run = [
        "dhclient",
        "-4",
        "-v",
        "-1",
        "-cf",
        str(conf),
        "-lf",
        str(tmp_path / "leases"),
        "-pf",
        str(tmp_path / "pid"),
    ]
    run += ["-sf", str(hook), "eth0"]
    for expected in ("dhcp.offer", "INIT-REBOOT"):
        said = inside(on, "node", *run)
        kill_by_pidfile(tmp_path / "pid")
        assert "bound to 10.98.0.17" in said
        events = server.until(lambda event: event["kind"] == "dhcp.ack")
        assert any(expected in event["kind"] + event["message"] for event in events)
    told = (tmp_path / "told").read_text().splitlines()
    assert "1400|rack.example. example.|10.98.0.40|16 10 97 10 98 0 7 0 10 98 0 254" in told


NETWORKD = """
mount -t tmpfs none /run && mkdir -p /run/systemd/network /run/dbus
printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n' \
  > /run/systemd/network/10-eth0.network
# It waits for udev, which is not here, unless it thinks that it is in a container.
mount -o remount,ro,bind /sys
chmod -R a+rX /run
exec timeout 60 /lib/systemd/systemd-networkd
"""


@pytest.mark.rule("dhcp-22")
def test_networkd_with_its_duid_gets_the_macs_address_and_routes(on: Wire, server: Running) -> None:
    process = subprocess.Popen(
        [*on.exec(on.clients["node"]), "unshare", "-m", "--propagation", "private", "sh", "-c", NETWORKD],
        stderr=subprocess.DEVNULL,
    )
    try:
        events = server.until(lambda event: event["kind"] == "dhcp.ack", 30)
        assert events[-1]["message"] == "took 10.98.0.17; confirmed for 7200 s"
        until(lambda: "10.97.0.0/16 via 10.98.0.7" in inside(on, "node", "ip", "route"))
        assert "default via 10.98.0.254" in inside(on, "node", "ip", "route")
    finally:
        process.terminate()
        process.wait(10)
    server.until(lambda event: event["kind"] == "dhcp.release")


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


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def kill_by_pidfile(file: Path) -> None:
    def daemon() -> str:
        said = file.read_text().strip()
        return said if said.isdigit() and Path(f"/proc/{said}").exists() else ""

    # dhclient writes it twice: before it goes to the background, and there.
    until(lambda: daemon() != "")
    pid = int(daemon())
    os.kill(pid, 15)
    until(lambda: not Path(f"/proc/{pid}").exists())
