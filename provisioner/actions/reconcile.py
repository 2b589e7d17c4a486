"""The vendor's list against what was harvested and seen; what contradicts it is not armed."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from provisioner.actions import fields as read
from provisioner.actions.enrol import record_state
from provisioner.actions.inventory_file import ImportRefused, Row
from provisioner.domain import lifecycle
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.machine import Machine, State
from provisioner.domain.ports import Store, Transaction
from provisioner.domain.reconcile import Account, Finding, reconcile

_SIGHTINGS = 20_000


def compare(store: Store, rows: Sequence[Row] | None, *, actor: str, now: int) -> list[Finding]:
    """Where the vendor's list disagrees with BMCs and DHCP. ``rows`` None: the list that was given last.

    The list is kept, and compared again after each harvest. Machines that contradict it cannot be armed until a
    later comparison finds them right; those that are armed are disarmed. Raises ImportRefused for unreadable rows,
    Refused if there is no list.
    """
    listed = None if rows is None else _accounts(rows)
    with store.transaction(actor) as tx:
        if listed is not None:
            tx.contradictions.put_vendor_list(listed)
            tx.see(
                Sighting(mac, "vendor", now, f"listed for {account.name}")
                for account in listed
                for mac in account.macs
            )
        elif not tx.contradictions.vendor_list():
            raise Refused("no vendor's list is known", "`provisioner bmc reconcile FILE` takes one")
        return refreshed(tx, now)


def forget(store: Store, *, actor: str, now: int) -> None:
    """Forget the vendor's list and what contradicted it."""
    with store.transaction(actor) as tx:
        tx.contradictions.put_vendor_list(())
        tx.contradictions.replace(())
        tx.events.add(Event(Kind.BMC_CHANGED, "forgot the vendor's list", now, actor=actor))


def refreshed(tx: Transaction, now: int) -> list[Finding]:
    """Compare the list that was given last again, within a transaction; nothing without a list."""
    listed = tx.contradictions.vendor_list()
    if not listed:
        return []
    machines = tx.machines.list()
    bmcs = {bmc.id: bmc.address for bmc in tx.bmcs.list()}
    harvested = [
        Account(machine.name, told, bmcs.get(machine.bmc_id, "") if machine.bmc_id else "")
        for machine in machines
        if (told := tuple(nic.mac for nic in machine.interfaces if nic.source == "bmc"))
    ]
    seen = {sighting.mac for sighting in tx.sightings(_SIGHTINGS) if sighting.source == "dhcp"}
    findings = reconcile(listed, harvested, seen)
    concerned = list(_concerned(findings, listed, machines, bmcs))
    _tell(tx, concerned, {machine.id: machine for machine in machines}, now)
    tx.contradictions.replace(concerned)
    return findings


def check(tx: Transaction, machine: Machine) -> None:
    """Raises Refused for a machine that contradicts the vendor's list."""
    for finding in tx.contradictions.of(machine.id):
        raise Refused(f"machine {machine.name} contradicts the vendor's list: {spoken(finding)}", remedy(finding))


def spoken(finding: Finding) -> str:
    """Both sides in one sentence."""
    sides = [f"the list says {finding.listed}" if finding.listed else "", finding.found]
    return f"{', but '.join(side for side in sides if side)} ({finding.kind})"


def remedy(finding: Finding) -> str:
    return f"{finding.fix}; then `provisioner bmc reconcile`, with the corrected list if it was the list"


def _accounts(rows: Sequence[Row]) -> list[Account]:
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
    return listed


def _concerned(
    findings: Sequence[Finding], listed: Sequence[Account], machines: Sequence[Machine], bmcs: dict[UUID, str]
) -> Iterator[tuple[UUID, Finding]]:
    """Each contradiction with every machine that it may be about: by name, by a listed MAC, by its BMC."""
    holders: dict[object, UUID] = {}
    for machine in machines:
        keys = (machine.name, *machine.macs, bmcs.get(machine.bmc_id, "") if machine.bmc_id else "")
        holders |= dict.fromkeys(filter(None, keys), machine.id)
    rows: dict[str, list[Account]] = {}
    for account in listed:
        rows.setdefault(account.name, []).append(account)
    for finding in findings:
        if finding.contradicts:
            places = [key for name in finding.machines for row in rows[name] for key in (name, *row.macs, row.bmc)]
            for machine_id in dict.fromkeys(holders[key] for key in places if key in holders):
                yield machine_id, finding


def _tell(
    tx: Transaction, concerned: Sequence[tuple[UUID, Finding]], machines: dict[UUID, Machine], now: int
) -> None:
    """What is new goes on the timeline, and takes an armed machine's install back."""
    known = set(tx.contradictions.list())
    for machine_id, finding in concerned:
        machine = machines[machine_id]
        if (machine_id, finding) in known:
            continue
        said = f"contradicts the vendor's list: {spoken(finding)}; {remedy(finding)}"
        tx.events.add(Event(Kind.BMC_ERROR, said, now, machine_id, machine.boot_mac, actor=tx.actor))
        if machine.state is State.ARMED:
            machines[machine_id] = tx.machines.put(lifecycle.disarmed(machine, now))
            record_state(tx, machine, machines[machine_id], now)
