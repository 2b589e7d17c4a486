"""The vendor's list against what was harvested and seen."""

from collections.abc import Sequence

from provisioner.actions import fields as read
from provisioner.actions.inventory_file import ImportRefused, Row
from provisioner.domain.errors import Refused
from provisioner.domain.ports import Store
from provisioner.domain.reconcile import Account, Finding, reconcile

_SIGHTINGS = 20_000


def compare(store: Store, rows: Sequence[Row]) -> list[Finding]:
    """Where the list disagrees with BMCs and DHCP; changes nothing. Raises ImportRefused for unreadable rows."""
    listed: list[Account] = []
    errors: list[tuple[int, str]] = []
    for line, fields in rows:
        try:
            bmc = str(read.address(fields["bmc"], "bmc")) if fields.get("bmc") else ""
            macs = read.macs(fields.get("mac") or fields.get("macs"))
            listed.append(Account(read.host_name(fields.get("name", "")), macs, bmc))
        except Refused as refusal:
            errors.append((line, str(refusal)))
    if errors:
        raise ImportRefused(errors)
    with store.reading() as tx:
        bmcs = {bmc.id: bmc.address for bmc in tx.bmcs.list()}
        harvested = [
            Account(machine.name, told, bmcs.get(machine.bmc_id, "") if machine.bmc_id else "")
            for machine in tx.machines.list()
            if (told := tuple(nic.mac for nic in machine.interfaces if nic.source == "bmc"))
        ]
        seen = {sighting.mac for sighting in tx.sightings(_SIGHTINGS) if sighting.source == "dhcp"}
    return reconcile(listed, harvested, seen)
