"""Other DHCP servers on the wires where we are the only one: looked for now and then, told when they come and go.

They are never fought: we do not NAK their clients (RFC 2131 §3.1); a person has to find them.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any

import structlog

from provisioner.domain.errors import InvalidValue
from provisioner.domain.events import Event, Kind
from provisioner.domain.mac import Mac
from provisioner.domain.ports import Observer

log = structlog.get_logger(__name__)

_LISTEN_SECONDS = 6.0
"""dnsmasq pings an address for three seconds before it offers it (its manual: --no-ping)."""
_PATIENCE_SECONDS = 30.0
"""For the probe's process, start included, on a machine that is busy."""

Rogue = tuple[str, str, str]
"""Interface, address and MAC."""


class RogueWatch:
    """Probes each interface every so many seconds until stopped; ``current`` may be read by any thread."""

    def __init__(
        self,
        interfaces: Sequence[str],
        ours: frozenset[IPv4Address],
        observer: Observer,
        clock: Callable[[], int],
        every: float,
    ) -> None:
        self._interfaces = interfaces
        self._ours = {str(address) for address in ours}
        self._observer, self._clock, self._every = observer, clock, every
        self.current: frozenset[Rogue] = frozenset()

    def run(self, stop: threading.Event) -> None:
        while self._interfaces and not stop.is_set():
            try:
                self.look(stop)
            except Exception:
                # No memory for a process, an answer that is none: the next look may do.
                log.exception("cannot look for other DHCP servers")
            stop.wait(self._every)

    def look(self, stop: threading.Event) -> None:
        """Probe once. An interface that could not be probed keeps what was known of it."""
        found = set()
        for interface in self._interfaces:
            answers = _probe(interface, stop)
            if answers is None:
                found |= {rogue for rogue in self.current if rogue[0] == interface}
                continue
            found |= {(interface, address, mac) for address, mac in answers if address not in self._ours}
        for interface, address, mac in sorted(found - self.current):
            why = (
                f"another DHCP server answers on {interface}: {address}, MAC {mac}; switch it off, or set dhcp = "
                f"'proxy' for {interface} if it is meant to give the addresses"
            )
            self._tell(why, interface, address, mac)
        for interface, address, mac in sorted(self.current - found):
            self._tell(
                f"the other DHCP server on {interface}, {address}, does not answer any more",
                interface,
                address,
                mac,
            )
        self.current = frozenset(found)

    def _tell(self, why: str, interface: str, address: str, mac: str) -> None:
        try:
            holder = Mac.parse(mac)
        except InvalidValue:
            holder = None
        data = {"interface": interface, "address": address, "mac": mac}
        self._observer.observe(Event(Kind.DHCP_ROGUE, why, self._clock(), None, holder, None, "dhcp", data))


def _probe(interface: str, stop: threading.Event) -> set[tuple[str, str]] | None:
    """Address and MAC of each server that answered; None when the probe could not run."""
    # It is in no hurry, and the answers of the service that starts it are.
    argv = [
        "nice",
        "-n",
        "15",
        sys.executable,
        "-P",
        "-m",
        "provisioner.dhcp.probe",
        interface,
        str(_LISTEN_SECONDS),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + _PATIENCE_SECONDS
        while process.poll() is None:
            if stop.wait(0.2) or time.monotonic() > until:
                process.kill()
                process.communicate()
                return None
        out, fault = process.communicate()
    said: dict[str, Any] = json.loads(out) if process.returncode == 0 else {"failed": fault.strip()[-500:]}
    if said["failed"]:
        log.warning("cannot look for other DHCP servers", interface=interface, fault=said["failed"])
        return None
    return {(answer["server"], answer["mac"]) for answer in said["answers"]}
