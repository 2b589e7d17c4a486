"""What the packet loop did, as numbers for Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from provisioner.dhcp.decision import Cause
from provisioner.domain.events import Kind

PACKETS_METRICS = "metrics-packets.prom"
"""In ``data_dir``: the packets service has no HTTP of its own."""
_UNQUOTED = str.maketrans('"\\\n', "'/ ")
"""For a label's value, which then needs no escapes."""


class Counters:
    """Counted by the loop; read by anybody, a packet late at most."""

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, Kind, Cause]] = Counter()
        """By interface, what was sent (or ``dhcp.ignored``), and why."""
        self.faults = 0
        """Datagrams whose handling raised, or whose answer could not be sent."""
        self.conflicts = 0
        """Addresses that were offered and turned out to be in use."""

    @property
    def sent(self) -> int:
        return sum(n for (_, _, cause), n in self.snapshot().items() if cause is Cause.ANSWERED)

    def snapshot(self) -> Mapping[tuple[str, Kind, Cause], int]:
        # A copy in one step: the loop goes on counting in its thread.
        return dict(self.decisions)


def exposition(
    counters: Counters,
    leases: Mapping[str, int],
    rogues: Iterable[tuple[str, str, str]],
    dropped: int,
    lease_fault: str = "",
) -> str:
    """Prometheus' text format. ``leases``: how many by state; ``rogues``: interface, address and MAC of others;
    ``dropped``: observations that the database was too slow for; ``lease_fault``: why leases cannot be written."""
    return "\n".join(_lines(counters, leases, rogues, dropped, lease_fault)) + "\n"


def _lines(
    counters: Counters,
    leases: Mapping[str, int],
    rogues: Iterable[tuple[str, str, str]],
    dropped: int,
    lease_fault: str,
) -> Iterator[str]:
    # First: on a full disk what stands first is what can still be said.
    why = lease_fault.translate(_UNQUOTED)
    yield "# HELP provisioner_dhcp_leases_refused Leases cannot be written; pools give no addresses."
    yield "# TYPE provisioner_dhcp_leases_refused gauge"
    yield f'provisioner_dhcp_leases_refused{{why="{why}"}} {int(bool(why))}'
    yield "# HELP provisioner_packets_observations_dropped_total Observations that the database was too slow for."
    yield "# TYPE provisioner_packets_observations_dropped_total counter"
    yield f"provisioner_packets_observations_dropped_total {dropped}"
    yield "# HELP provisioner_dhcp_packets_total DHCP packets by what was decided and why."
    yield "# TYPE provisioner_dhcp_packets_total counter"
    for (interface, kind, cause), n in sorted(counters.snapshot().items()):
        told = kind.removeprefix("dhcp.")
        labels = f'interface="{interface}",decision="{told}",cause="{cause}"'
        yield f"provisioner_dhcp_packets_total{{{labels}}} {n}"
    yield "# HELP provisioner_dhcp_faults_total DHCP packets whose handling failed by a fault of ours."
    yield "# TYPE provisioner_dhcp_faults_total counter"
    yield f"provisioner_dhcp_faults_total {counters.faults}"
    yield "# HELP provisioner_dhcp_conflicts_total Offered addresses that another device answered on."
    yield "# TYPE provisioner_dhcp_conflicts_total counter"
    yield f"provisioner_dhcp_conflicts_total {counters.conflicts}"
    yield "# HELP provisioner_dhcp_leases Addresses of the pools by state."
    yield "# TYPE provisioner_dhcp_leases gauge"
    for state, n in sorted(leases.items()):
        yield f'provisioner_dhcp_leases{{state="{state}"}} {n}'
    yield "# HELP provisioner_dhcp_rogue_servers Other DHCP servers that answered the last probe."
    yield "# TYPE provisioner_dhcp_rogue_servers gauge"
    for interface, address, mac in sorted(rogues):
        yield f'provisioner_dhcp_rogue_servers{{interface="{interface}",address="{address}",mac="{mac}"}} 1'
