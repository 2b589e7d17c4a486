"""Two served interfaces: the wire that a question came by decides its subnet, and the answer leaves by it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.dhcp.packet import decode
from tests.netns import Wire, sh, wire

from .on_wire import Running, asked, inside, served, udhcpc
from .rack import DISCOVER, FAR_MAC, MAC, OFFER, STRANGER, Asker

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
]
# Every DHCP answer that shows on this wire within the time, as source, in one line each.
LISTENER = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
s.bind(("eth0", 0x0800))
s.settimeout(float(sys.argv[1]))
print("listening", flush=True)
try:
    while True:
        frame, where = s.recvfrom(4096)
        if frame[23] == 17 and frame[34:36] == b"\\x00\\x43":
            print(socket.inet_ntoa(frame[26:30]), flush=True)
except TimeoutError:
    pass
"""


@pytest.fixture(scope="module")
def on() -> Iterator[Wire]:
    with wire("10.98.0.1/24") as made:
        sh("ip", "-n", made.server, "link", "add", "br1", "address", "02:00:0a:62:00:02", "type", "bridge")
        sh("ip", "-n", made.server, "link", "set", "br1", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        sh("ip", "-n", made.server, "addr", "add", "10.99.0.1/24", "dev", "br1")
        sh("ip", "-n", made.server, "link", "set", "br1", "up")
        for name, mac in (("node", MAC), ("stranger", STRANGER), ("quiet", "52:54:00:98:0c:01")):
            made.plug(name, str(mac))
        # The same MAC on both wires, as two VLANs of one switch may show it.
        for name, mac in (("far-node", FAR_MAC), ("far-stranger", STRANGER), ("far-quiet", "52:54:00:98:0c:02")):
            made.plug(name, str(mac), bridge="br1")
        yield made


@pytest.fixture(scope="module")
def server(on: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    leases = tmp_path_factory.mktemp("leases") / "leases.db"
    with served(on, "authoritative", str(leases), "br1=10.99.0.1") as running:
        yield running


@pytest.mark.rule("dhcp-40")
def test_each_wire_gives_its_own_networks_addresses(on: Wire, server: Running, script: Path) -> None:
    assert "GOT bound ip=10.98.0.17 mask=24 router=10.98.0.254" in udhcpc(on, "node", script)
    said = udhcpc(on, "far-node", script)
    assert "GOT bound ip=10.99.0.5 mask=24 router=10.99.0.1" in said
    assert "server=10.99.0.1" in said, "the address on the wire that was asked"


@pytest.mark.rule("dhcp-40")
def test_one_mac_on_two_wires_has_an_address_on_each(on: Wire, server: Running, script: Path) -> None:
    near, far = (udhcpc(on, name, script) for name in ("stranger", "far-stranger"))
    assert "GOT bound ip=10.98.0.200" in near
    assert "GOT bound ip=10.99.0.200" in far
    assert "GOT bound ip=10.98.0.200" in udhcpc(on, "stranger", script), "the other wire's lease took nothing away"


@pytest.mark.rule("dhcp-40")
@pytest.mark.parametrize(("asks", "hears", "other", "ours"), [
    ("node", "quiet", "far-quiet", "10.98.0.1"),
    ("far-node", "far-quiet", "quiet", "10.99.0.1"),
])  # fmt: skip
def test_a_broadcast_answer_shows_on_the_wire_that_asked_only(
    on: Wire, server: Running, asks: str, hears: str, other: str, ours: str
) -> None:
    listening = {
        name: subprocess.Popen(
            [*on.exec(on.clients[name]), sys.executable, "-c", LISTENER, "3"], stdout=subprocess.PIPE, text=True
        )
        for name in (hears, other)
    }
    try:
        for process in listening.values():
            assert process.stdout
            assert process.stdout.readline() == "listening\n"
        mac = MAC if asks == "node" else FAR_MAC
        question = Asker({55: bytes((1, 3))}, mac, flags=0x8000)
        *_, payload = asked(on, asks, question.bytes(DISCOVER))
        assert decode(bytes.fromhex(payload)).options[53] == OFFER
        heard = {name: process.communicate(timeout=20)[0].split() for name, process in listening.items()}
    finally:
        for process in listening.values():
            process.kill()
            process.wait(10)
    assert heard == {hears: [ours], other: []}


@pytest.mark.rule("dhcp-40")
def test_a_machine_on_the_wrong_wire_is_told_of_in_its_timeline(on: Wire, server: Running, script: Path) -> None:
    sh("ip", "-n", on.clients["far-quiet"], "link", "set", "eth0", "address", str(MAC))
    assert "GOT" not in udhcpc(on, "far-quiet", script)
    said = server.until(lambda event: "is not in 10.99.0.0/24, where it asks" in event["message"])
    assert said[-1]["mac"] == str(MAC)
    assert inside(on, "far-quiet", "ip", "-4", "addr", "show", "dev", "eth0") == ""
