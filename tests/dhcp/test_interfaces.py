"""What happens to the interface while it is served: nobody who pulls a cable restarts the appliance."""

import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.netns import Wire, sh, wire

from .on_wire import asked, served
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


def ports(on: Wire) -> list[str]:
    lines = sh("ip", "-n", on.server, "-o", "link", "show", "master", "br0").stdout.splitlines()
    return [line.split(":")[1].partition("@")[0].strip() for line in lines]
