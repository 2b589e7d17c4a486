"""What the packets service, which has no HTTP of its own, wrote about itself last."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

_FRESH_SECONDS = 60
_ROGUE = re.compile(
    r'^provisioner_dhcp_rogue_servers\{interface="([^"]*)",address="([^"]*)",mac="([^"]*)"\} 1$', re.MULTILINE
)
_LEASE_FAULT = re.compile(r'^provisioner_dhcp_leases_refused\{why="([^"]*)"\} 1$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rogue:
    """Another DHCP server that answered the last probe."""

    interface: str
    address: str
    mac: str


def published(file: Path | None) -> str:
    """Prometheus' text of the last minute, else nothing: a file that is older tells of a service that is gone, and
    numbers that stand still look like health."""
    try:
        if file is not None and time.time() - file.stat().st_mtime < _FRESH_SECONDS:
            return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return ""


def rogues(file: Path | None) -> tuple[Rogue, ...]:
    """Who else gives addresses where we are the only ones to do so."""
    return tuple(Rogue(*found) for found in _ROGUE.findall(published(file)))


def lease_fault(file: Path | None) -> str:
    """Why no address of a pool is given out; empty: they are, or nothing is known."""
    found = _LEASE_FAULT.search(published(file))
    return found[1] if found else ""
