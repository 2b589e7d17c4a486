"""A vendor's list against a harvested inventory and what DHCP saw."""

from pathlib import Path

import pytest

from provisioner.actions import inventory_file
from provisioner.actions.bmcs import add_bmc
from provisioner.actions.harvest import merge
from provisioner.actions.reconcile import compare
from provisioner.domain.bmc import Identity
from provisioner.domain.errors import Refused
from provisioner.domain.events import Sighting
from provisioner.domain.mac import Mac
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}
LIST = """name,mac,bmc
n1,52:54:00:00:11:11,10.9.0.1
n2,52:54:00:00:33:33,10.9.0.2
n3,52:54:00:00:22:22,10.9.0.3
n4,52:54:00:00:44:45,10.9.0.4
n5,52:54:00:00:55:55,10.9.0.5
"""


def test_three_accounts_become_findings(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for n in (1, 2, 3, 4, 6):
        bmc = add_bmc(store, {"address": f"10.9.0.{n}"}, actor="test", now=NOW)
        with store.transaction("test") as tx:
            merge(tx, bmc, Identity(macs=(Mac.parse(f"52540000{n * 1111:04}"),)), NOW)
    with store.transaction("dhcp") as tx:
        tx.see([Sighting(Mac.parse("52:54:00:00:77:77"), "dhcp", NOW)])
    findings = compare(store, inventory_file.parse(LIST), **WHO)
    assert [(f.kind, f.machines, f.found) for f in findings] == [
        (
            "swap",
            ("n2", "n3"),
            "the BMCs tell the MACs the other way round (52:54:00:00:22:22 is behind 10.9.0.2)",
        ),
        ("typo", ("n4",), "BMC 10.9.0.4 tells 52:54:00:00:44:44"),
        ("missing", ("n5",), ""),
        ("extra", ("server-525400006666",), "BMC 10.9.0.6 tells 52:54:00:00:66:66"),
        ("extra", (), "DHCP saw 52:54:00:00:77:77"),
    ]
    with pytest.raises(Refused, match="line 2: mac 'x' is not a MAC"):
        compare(store, inventory_file.parse("name,mac\nn1,x\n"), **WHO)
