"""What the wire tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import Wire, sh, wire

from .on_wire import Running, served
from .rack import MAC, RELAY, SECOND_MAC, STRANGER


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What udhcpc and dhclient call: it sets the address and tells what it was told."""
    made = tmp_path / "lease"
    made.write_text(
        "#!/bin/sh\n"
        'case "$1" in bound|renew) ip addr replace "$ip/$mask" dev eth0; '
        'echo "GOT $1 ip=$ip mask=$mask router=$router dns=$dns lease=$lease server=$serverid host=$hostname"; '
        'echo "OPTIONS mtu=$mtu search=$search ntp=$ntpsrv routes=$staticroutes"\n'
        ";; esac\n"
    )
    made.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def on() -> Iterator[Wire]:
    with wire("10.98.0.1/24") as made:
        made.plug("node", str(MAC))
        made.plug("second", str(SECOND_MAC))
        made.plug("stranger", str(STRANGER))
        # The relay's own wire behind it is not needed: it is asked about by its address there, giaddr.
        made.plug("relay", "52:54:00:98:0f:01", "10.98.0.250/24")
        sh("ip", "-n", made.clients["relay"], "addr", "add", f"{RELAY}/24", "dev", "lo")
        sh("ip", "-n", made.server, "route", "add", "10.99.0.0/24", "via", "10.98.0.250")
        yield made


@pytest.fixture
def server(on: Wire) -> Iterator[Running]:
    with served(on) as running:
        yield running
    for namespace in on.clients.values():
        if namespace != on.clients["relay"]:
            sh("ip", "-n", namespace, "addr", "flush", "dev", "eth0", "scope", "global")
