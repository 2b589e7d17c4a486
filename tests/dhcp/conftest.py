"""What the wire tests share."""

from pathlib import Path

import pytest


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
