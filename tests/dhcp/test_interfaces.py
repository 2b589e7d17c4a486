"""What happens to the interface while it is served: nobody who pulls a cable restarts the appliance."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.netns import Wire, sh, wire

from .on_wire import asked, inside, served
from .rack import DISCOVER, MAC, SYSTEM

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
]
QUESTION = replace(SYSTEM, flags=0x8000).bytes(DISCOVER)


def answered(on: Wire, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if asked(on, "node", QUESTION, wait=1):
            return True
    return False


def down_and_up(on: Wire) -> None:
    sh("ip", "-n", on.server, "link", "set", "br0", "down")
    sh("ip", "-n", on.server, "link", "set", "br0", "up")


def address_taken_and_given_back(on: Wire) -> None:
    sh("ip", "-n", on.server, "addr", "flush", "dev", "br0")
    sh("ip", "-n", on.server, "addr", "add", f"{on.address}/24", "dev", "br0")


@pytest.mark.parametrize("meanwhile", [down_and_up, address_taken_and_given_back])
def test_an_interface_that_comes_back_is_served(meanwhile: Callable[[Wire], None]) -> None:
    with wire() as on:
        on.plug("node", str(MAC))
        with served(on):
            assert answered(on)
            meanwhile(on)
            assert answered(on)


def test_an_interface_that_is_made_anew_is_opened_again_and_its_absence_is_told() -> None:
    """As `ifdown`, `ifup` and networkd do with bridges, bonds and VLANs."""
    with wire() as on:
        on.plug("node", str(MAC))
        (port,) = ports(on)
        with served(on) as server:
            assert answered(on)
            sh("ip", "-n", on.server, "link", "del", "br0")
            server.until(lambda e: "interface br0 is gone; DHCP is served on it again when" in e["message"], 30)
            sh("ip", "-n", on.server, "link", "add", "br0", "address", "02:00:0a:62:00:01", "type", "bridge")
            sh("ip", "-n", on.server, "link", "set", port, "master", "br0")
            sh("ip", "-n", on.server, "link", "set", "br0", "up")
            told = server.until(
                lambda e: e["kind"] == "service" and "is no address of this host" in e["message"], 30
            )
            assert f"`ip addr add {on.address}/PREFIXLEN dev br0`" in told[-1]["message"]
            sh("ip", "-n", on.server, "addr", "add", f"{on.address}/24", "dev", "br0")
            server.until(lambda e: e["message"] == "DHCP is served on br0 again", 30)
            assert answered(on)


# Asks so often that the answers find no room on a link that takes nothing.
MANY = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("0.0.0.0", 68))
for _ in range(1500):
    s.sendto(bytes.fromhex(sys.argv[1]), ("255.255.255.255", 67))
"""


def test_a_link_that_takes_nothing_does_not_stop_the_server() -> None:
    slow = ["tbf", "rate", "8kbit", "burst", "2000", "limit", "10mb"]
    with wire() as on:
        on.plug("node", str(MAC))
        tc = [*on.exec(on.server), "tc", "qdisc"]
        if "Error" in sh(*tc, "add", "dev", "br0", "root", *slow, check=False).stderr:
            pytest.skip("this kernel has no token bucket to slow a link with")
        with served(on) as server:
            inside(on, "node", sys.executable, "-c", MANY, SYSTEM.bytes(DISCOVER).hex())
            told = server.until(lambda e: "not sent to" in e["message"], 30)[-1]
            assert told["mac"] == str(MAC)
            assert "Resource temporarily unavailable" in told["message"]
            sh(*tc, "del", "dev", "br0", "root")
            assert answered(on)


def ports(on: Wire) -> list[str]:
    lines = sh("ip", "-n", on.server, "-o", "link", "show", "master", "br0").stdout.splitlines()
    return [line.split(":")[1].partition("@")[0].strip() for line in lines]
