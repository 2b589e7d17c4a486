"""Pools and the proxy mode on a real wire: Debian's clients and relay, a squatter, another server."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.dhcp.packet import decode
from tests.netns import Wire, sh, wire

from .on_wire import asked, inside, served, udhcpc, until
from .rack import DISCOVER, IP, MAC, OFFER, SERVER, STRANGER, Asker, pxe

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
]
NEIGHBOUR = "52:54:00:98:0e:01"


@pytest.fixture
def on() -> Iterator[Wire]:
    with wire("10.98.0.1/24") as made:
        made.plug("stranger", str(STRANGER))
        made.plug("node", str(MAC))
        yield made


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


def stored(leases: Path) -> list[tuple[str, bytes]]:
    with sqlite3.connect(leases) as file:
        rows = file.execute("SELECT address, mac FROM leases WHERE state = 2").fetchall()
    file.close()
    return [(str(IPv4Address(address)), mac) for address, mac in rows]


def test_a_stranger_is_leased_an_address_that_outlives_the_server(on: Wire, leases: Path, script: Path) -> None:
    with served(on, "authoritative", str(leases)):
        assert "GOT bound ip=10.98.0.200 mask=24" in udhcpc(on, "stranger", script)
        assert stored(leases) == [("10.98.0.200", bytes(STRANGER))]
    sh("ip", "-n", on.clients["stranger"], "addr", "flush", "dev", "eth0")
    with served(on, "authoritative", str(leases)) as again:
        # Somebody else first: the address is not free, and its holder gets it again.
        other = Asker(mac=type(STRANGER)(STRANGER[:5] + b"\x77"), flags=0x8000)
        asked(on, "node", other.bytes(DISCOVER))
        assert "GOT bound ip=10.98.0.200" in udhcpc(on, "stranger", script)
        assert (
            "again" in again.until(lambda e: e["kind"] == "dhcp.offer" and e["mac"] == str(STRANGER))[-1]["message"]
        )


@pytest.mark.rule("dhcp-08")
@pytest.mark.rule("dhcp-38")
@pytest.mark.rule("fault-11")
def test_an_address_that_another_device_answers_on_is_found_while_the_offer_travels(on: Wire, leases: Path) -> None:
    on.plug("squatter", NEIGHBOUR, "10.98.0.200/24")
    question = Asker(mac=STRANGER, flags=0x8000)
    with served(on, "authoritative", str(leases)) as server:
        *_, payload = asked(on, "stranger", question.bytes(DISCOVER))
        first = decode(bytes.fromhex(payload))
        assert (first.options[53], str(first.yiaddr)) == (OFFER, "10.98.0.200")
        found = server.until(lambda e: e["kind"] == "dhcp.decline")[-1]
        assert f"offered 10.98.0.200, but {NEIGHBOUR} answers on it" in found["message"]
        *_, payload = asked(on, "stranger", question.bytes(DISCOVER))
        assert str(decode(bytes.fromhex(payload)).yiaddr) == "10.98.0.201"


def test_a_client_that_finds_the_conflict_itself_declines(on: Wire, leases: Path) -> None:
    question = Asker(mac=STRANGER, flags=0x8000)
    with served(on, "authoritative", str(leases)) as server:
        asked(on, "stranger", question.bytes(DISCOVER))
        declined = {50: IPv4Address("10.98.0.200").packed, 54: SERVER.packed}
        asked(on, "stranger", question.bytes(b"\x04", declined), wait=0.1)
        server.until(lambda e: e["kind"] == "dhcp.decline")
        *_, payload = asked(on, "stranger", question.bytes(DISCOVER))
        assert str(decode(bytes.fromhex(payload)).yiaddr) == "10.98.0.201"
    with sqlite3.connect(leases) as file:
        assert file.execute("SELECT count(*) FROM leases WHERE state = 4").fetchone() == (1,)
    file.close()


@pytest.mark.rule("fault-04")
def test_with_the_lease_file_locked_reservations_are_served_and_leases_are_not_faked(
    on: Wire,
    leases: Path,
    script: Path,
) -> None:
    with served(on, "authoritative", str(leases)) as server:
        holder = sqlite3.connect(leases, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        assert "GOT" not in udhcpc(on, "stranger", script)
        refused = server.until(lambda e: "the lease cannot be written (database is locked)" in e["message"])[-1]
        assert refused["kind"] == "dhcp.ignored"
        assert "GOT bound ip=10.98.0.17" in udhcpc(on, "node", script)
        holder.execute("COMMIT")
        holder.close()
        assert "GOT bound ip=10.98.0.200" in udhcpc(on, "stranger", script)


@pytest.mark.rule("dhcp-20")
@pytest.mark.rule("dhcp-41")
def test_through_debians_relay_the_client_gets_its_own_networks_address(
    on: Wire,
    leases: Path,
    script: Path,
    tmp_path: Path,
) -> None:
    """client — relay (10.99.0.1 | 10.98.0.250) — server; the relay adds option 82 and takes it away again."""
    relay = on.plug("relay", "52:54:00:98:0f:01", "10.98.0.250/24")
    far = f"{on.server}-far"
    sh("ip", "netns", "add", far)
    on.clients["far"] = far
    sh("ip", "-n", relay, "link", "add", "down0", "type", "veth", "peer", "name", "eth0", "netns", far)
    sh("ip", "-n", far, "link", "set", "eth0", "address", "52:54:00:99:00:77", "up")
    sh("ip", "-n", relay, "addr", "add", "10.99.0.1/24", "dev", "down0")
    sh("ip", "-n", relay, "link", "set", "down0", "up")
    sh("ip", "-n", on.server, "route", "add", "10.99.0.0/24", "via", "10.98.0.250")
    with served(on, "authoritative", str(leases)) as server:
        process = subprocess.Popen(
            [
                *on.exec(relay),
                *(
                    "dhcrelay",
                    "-4",
                    "-d",
                    "-a",
                    "-id",
                    "down0",
                    "-iu",
                    "eth0",
                    "-pf",
                    str(tmp_path / "pid"),
                    str(SERVER),
                ),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: ":67 " in inside(on, "relay", "ss", "-lun"))
            said = udhcpc(on, "far", script)
            assert "GOT bound ip=10.99.0.200 mask=24 router=10.99.0.1" in said, said
            told = server.until(lambda e: e["kind"] == "sighting")[-1]
            assert told["message"] == "system on br0 by relay 10.99.0.1, port down0"
            server.until(lambda e: e["kind"] == "dhcp.ack")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


@pytest.mark.rule("dhcp-28")
@pytest.mark.rule("dhcp-29")
def test_beside_dnsmasq_addresses_are_its_and_boot_files_ours(on: Wire, tmp_path: Path, script: Path) -> None:
    foreign = on.plug("foreign", "52:54:00:98:0d:01", "10.98.0.9/24")
    process = subprocess.Popen(
        [
            *on.exec(foreign),
            *("dnsmasq", "-k", "-C", "/dev/null", "--port=0", "--interface=eth0", "--dhcp-authoritative"),
            *("--dhcp-range=10.98.0.50,10.98.0.60,255.255.255.0,600", f"--dhcp-host={MAC},{IP}"),
            *(f"--dhcp-leasefile={tmp_path / 'dnsmasq.leases'}", f"--pid-file={tmp_path / 'dnsmasq.pid'}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: ":67 " in inside(on, "foreign", "ss", "-lun"))
        with served(on, "proxy") as server:
            assert "GOT bound ip=10.98.0.17" in udhcpc(on, "node", script)
            # The client has its address; its firmware asks us on 4011, from a port of its own.
            question = pxe(7).bytes(b"\x03", ciaddr=IP)
            answer = inside(on, "node", sys.executable, "-c", ASKS_4011, question.hex()).split()
            assert answer[:2] == [str(SERVER), "4011"]
            ack = decode(bytes.fromhex(answer[2]))
            assert (ack.options[53], ack.file) == (b"\x05", b"snponly.efi")
            events = server.until(lambda e: e["kind"] == "dhcp.ack")
            assert events[-1]["message"].startswith("asked the boot server on port 4011; boot file snponly.efi")
            assert not any(e["kind"] == "dhcp.nak" for e in events)
    finally:
        process.kill()
        process.wait(10)


ASKS_4011 = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.98.0.17", 4011))
s.settimeout(5)
s.sendto(bytes.fromhex(sys.argv[1]), ("10.98.0.1", 4011))
data, source = s.recvfrom(4096)
print(source[0], source[1], data.hex())
"""
