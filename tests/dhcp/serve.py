"""A DHCP server on the wire of a test, one event a line on stdout.

`python -m tests.dhcp.serve INTERFACE ADDRESS [MODE [LEASE_FILE [INTERFACE=ADDRESS]...]]` serves the rack of
``tests.dhcp.rack``; with a lease file, its subnets enrol strangers and have pools. A line ``fault`` on stdin makes
the next look at the inventory raise, as a bug would; the end of stdin ends it.
"""

import json
import sys
import threading
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from provisioner.dhcp.decision import Mode
from provisioner.dhcp.lease_file import LeaseFile
from provisioner.dhcp.server import DhcpServer
from provisioner.dhcp.serving import Served
from provisioner.domain.events import Event, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.option_set import read_options
from provisioner.domain.subnet import AddressRange, Subnet, UnknownPolicy

from .rack import CONTEXT, FAR, FAR_NODE, NEAR, NODE, SECOND_MAC, machine

STATED = {
    "mtu": "1400",
    "ntp": "10.98.0.40",
    "domain-search": "rack.example, example",
    "classless-routes": "10.97.0.0/16 via 10.98.0.7",
}


class Snapshots:
    """A fixed rack, that can be made to fail once."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.broken = False

    @property
    def inventory(self) -> Inventory:
        if self.broken:
            self.broken = False
            raise RuntimeError("a fault on purpose")
        return self._inventory


def say(kind: str, message: str, **more: str | None) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "message": message, **more}) + "\n")
    sys.stdout.flush()


class Printer:
    def observe(self, event: Event) -> None:
        say(event.kind, event.message, mac=str(event.mac or ""), phase=event.phase)

    def sight(self, sighting: Sighting) -> None:
        say("sighting", sighting.detail, mac=str(sighting.mac))


def pooled(subnet: Subnet, text: str) -> Subnet:
    first, last = map(IPv4Address, text.split("-"))
    return replace(subnet, pools=(AddressRange(first, last),), unknown=UnknownPolicy.ENROL, lease_seconds=600)


def main(name: str, address: str, mode: str = "authoritative", leases: str = "", *further: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    wires = [(name, address), *(tuple(text.split("=")) for text in further)]
    second = machine("node18", SECOND_MAC, IPv4Address("10.98.0.18"))
    subnets = [pooled(NEAR, "10.98.0.200-10.98.0.209"), pooled(FAR, "10.99.0.200-10.99.0.209")]
    node = replace(NODE, slot=replace(NODE.slot, options=read_options(STATED)))
    snapshots = Snapshots(Inventory.build([node, FAR_NODE, second], subnets if leases else [NEAR, FAR]))
    server = DhcpServer(
        [Served(wire, IPv4Address(ours), Mode(mode)) for wire, ours in wires],
        snapshots,
        Printer(),
        lambda: time.time_ns() // 1000,
        loaders=CONTEXT.loaders,
        lease_file=LeaseFile.open(Path(leases)) if leases else None,
    )

    def obey() -> None:
        for line in sys.stdin:
            snapshots.broken = line.strip() == "fault"
            say("obeyed", line.strip())
        server.stop()

    threading.Thread(target=obey, daemon=True).start()
    say("serving", name)
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
