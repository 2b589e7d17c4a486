"""Did the machine really arrive? Judged by what is seen from outside, not by what the appliance says."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from provisioner.lab.appliance import Appliance
from provisioner.lab.programs import inside, run
from provisioner.lab.rack import Rack, RackMachine
from provisioner.lab.witness import Sight, Witness

_KNOCK = """
import socket, sys
knock = socket.socket()
knock.settimeout(3)
knock.connect_ex((sys.argv[1], 9))
"""
"""Whether the port is open is all the same: the kernel has to ask for the MAC first."""
_ASKED_IN_VAIN = 3
"""DISCOVERs of a firmware under a MAC that the appliance was not told: nobody will ever answer them."""
_SILENT_SECONDS = 120.0
"""The same is said of one that has not even asked by then."""


class Judge:
    """Holds what it takes to check a claim: the appliance's words, the wire, the rack."""

    def __init__(self, appliance: Appliance, witness: Witness, rack: Rack) -> None:
        self._appliance = appliance
        self._witness = witness
        self._rack = rack

    def hopeless(self, told: Mapping[str, Any], truth: RackMachine, seconds: float) -> bool:
        """Still armed, and its firmware asks and asks: under another MAC than the appliance knows."""
        if told["state"] != "armed" or not self._lied(told, truth):
            return False
        asked = self._witness.count(Sight.FIRMWARE, str(truth.mac))
        return asked >= _ASKED_IN_VAIN or seconds > _SILENT_SECONDS

    def verdict(self, told: Mapping[str, Any], truth: RackMachine) -> str:
        """Why the machine did not arrive; empty if it did.

        Arrived means: active; at its address answers the MAC of that machine; and the installed system, which
        booted from its disk, never asked for an address by DHCP.
        """
        if self._lied(told, truth):
            return (
                f"its BMC {truth.bmc_address} says MAC {told['mac']}, "
                f"but the server behind it asks from {truth.mac}: the FRU is wrong"
            )
        if told["state"] != "active":
            return str(told["reason"] or f"stopped in state {told['state']}, phase {told['phase'] or 'none'}")
        return self._lives_from_its_disk(told, truth, self._completed(told["name"]))

    def came_home(self, truth: RackMachine, since: int) -> bool:
        """Seen on the wire: its installed system phoned home. ``since``: UTC microseconds."""
        return self._witness.count(Sight.HOME, str(truth.mac), since) > 0

    def second_verdict(
        self, before: Mapping[str, Any], after: Mapping[str, Any], truth: RackMachine, since: int
    ) -> str:
        """As ``verdict``, after a power cycle at ``since``: it asked the network first, then took its disk."""
        if not self.came_home(truth, since):
            return "after a power cycle it did not come home again"
        if not self._witness.count(Sight.FIRMWARE, str(truth.mac), since):
            return "after a power cycle it did not ask the network first, so nothing shows what it would have got"
        if (after["state"], after["attempts"]) != (before["state"], before["attempts"]):
            return (
                f"after a power cycle it is {after['state']} with {after['attempts']} attempts: it installed again"
            )
        return self._lives_from_its_disk(after, truth, since)

    def _lives_from_its_disk(self, told: Mapping[str, Any], truth: RackMachine, since: int) -> str:
        if not self._witness.watching:
            return "the wire was not watched to the end, so nothing proves how it got its address"
        asked = self._witness.count(Sight.SYSTEM, str(truth.mac), since)
        if asked:
            return f"its installed system asked for an address by DHCP ({asked} requests): not static"
        if (found := self._neighbour(told["ip"])) != str(truth.mac):
            return f"at {told['ip']} answers {found or 'nobody'}, not {truth.mac}"
        return ""

    def _lied(self, told: Mapping[str, Any], truth: RackMachine) -> bool:
        macs = str(told["mac"]).split(";")
        return str(truth.mac) not in macs

    def _completed(self, name: str) -> int:
        """When the install reported complete, in UTC microseconds; 0, the strictest, if no such event is found."""
        events: list[dict[str, Any]] = self._appliance.ask("machine", "events", name, "--limit", "1000")
        times = [datetime.fromisoformat(event["at"]) for event in events if event["kind"] == "report.complete"]
        return max((int(at.timestamp() * 1_000_000) for at in times), default=0)

    def _neighbour(self, ip: str) -> str:
        """The MAC that answers for ``ip`` on the wire now; empty if none does."""
        namespace = self._rack.network.appliance
        run("ip", "-n", namespace, "neigh", "flush", "to", ip)
        run(*inside(namespace, [sys.executable, "-ISc", _KNOCK, ip]))
        found = json.loads(run("ip", "-j", "-n", namespace, "neigh", "show", ip) or "[]")
        return str(found[0].get("lladdr", "")) if found else ""
