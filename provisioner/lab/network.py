"""The lab's wire: three network namespaces, with no way out of them.

``…-wire`` holds the bridge and the machines' taps, ``…-app`` the appliance (``eth0``), ``…-bmc`` the BMCs, all
addresses on one ``eth0``, because a BMC's address must not be one of the appliance's own. Everything the lab starts
runs in one of the three, so what runs in them is what has to be killed.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from provisioner.domain.errors import Refused
from provisioner.lab.programs import run

BRIDGE = "br0"
INTERFACE = "eth0"
PREFIX = IPv4Network("10.77.0.0/24")
_FIRST_BMC = 201


@dataclass(frozen=True)
class Network:
    """Names and addresses follow from ``name``, unique a lab, and ``prefix``, a /24."""

    name: str
    prefix: IPv4Network = PREFIX

    @property
    def wire(self) -> str:
        return f"{self.name}-wire"

    @property
    def appliance(self) -> str:
        return f"{self.name}-app"

    @property
    def bmcs(self) -> str:
        return f"{self.name}-bmc"

    @property
    def namespaces(self) -> tuple[str, str, str]:
        return self.appliance, self.bmcs, self.wire

    @property
    def address(self) -> IPv4Address:
        """The appliance's."""
        return self.prefix[1]

    def bmc_address(self, index: int) -> IPv4Address:
        return self.prefix[_FIRST_BMC + index]

    def up(self) -> None:
        """Build it. Raises Refused; what was built by then is for ``down`` to remove."""
        for namespace in self.namespaces:
            run("ip", "netns", "add", namespace)
            # pyghmi wakes its own thread over ::1 or 127.0.0.1, and so do many programs.
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        # STP off and no delay: a bridge that learns for 30 s after link-up loses the ROM's first DISCOVERs.
        run("ip", "-n", self.wire, "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "-n", self.wire, "link", "set", BRIDGE, "up")
        for namespace, port in ((self.appliance, "app"), (self.bmcs, "bmc")):
            run(
                *("ip", "-n", self.wire, "link", "add", port, "type", "veth"),
                *("peer", "name", INTERFACE, "netns", namespace),
            )
            run("ip", "-n", self.wire, "link", "set", port, "master", BRIDGE, "up")
            run("ip", "-n", namespace, "link", "set", INTERFACE, "up")
        run("ip", "-n", self.appliance, "addr", "add", f"{self.address}/{self.prefix.prefixlen}", "dev", INTERFACE)

    def add_bmc(self, index: int) -> IPv4Address:
        """Give BMC number ``index`` its address."""
        address = self.bmc_address(index)
        run("ip", "-n", self.bmcs, "addr", "add", f"{address}/{self.prefix.prefixlen}", "dev", INTERFACE)
        return address

    def add_tap(self, index: int) -> str:
        """A port on the bridge for machine number ``index``; QEMU opens it inside ``wire``."""
        tap = f"tap{index}"
        run("ip", "-n", self.wire, "tuntap", "add", tap, "mode", "tap")
        run("ip", "-n", self.wire, "link", "set", tap, "master", BRIDGE, "up")
        return tap

    def down(self) -> None:
        """Kill what runs in the namespaces and remove them. Removing what is not there is no error."""
        remove_namespaces(self.namespaces)


def remove_namespaces(names: tuple[str, ...]) -> None:
    """As ``Network.down``, by name alone, for a lab whose process is gone."""
    there = [name for name in names if Path("/run/netns", name).exists()]
    for signal_number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        pids = {pid for name in there for pid in _pids(name)}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        until = time.monotonic() + seconds
        while pids and time.monotonic() < until and any(_pids(name) for name in there):
            time.sleep(0.05)
    for name in there:
        with suppress(Refused):
            run("ip", "netns", "del", name)


def _pids(namespace: str) -> list[int]:
    with suppress(Refused):
        return [pid for text in run("ip", "netns", "pids", namespace).split() if (pid := int(text)) != os.getpid()]
    return []
