"""Find BMCs in a range: what answers is a result; listed only if that was asked for."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from provisioner.actions import fields as read
from provisioner.actions import logins
from provisioner.actions.bmcs import PROTOCOLS
from provisioner.domain.bmc import Bmc, Presence
from provisioner.domain.errors import InvalidValue
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import BmcPort, Store, Transaction
from provisioner.domain.records import Job
from provisioner.domain.subnet import IPNetwork

MOST = 16_384
"""Addresses of one scan: a /18 is asked in three minutes."""
CHUNK = 512
"""Addresses between two looks at the job: what a scan that died has found stays found."""


def enqueue_scan(
    store: Store,
    prefix: str,
    *,
    actor: str,
    now: int,
    add: bool = False,
    user: str = "",
    password: str = "",
) -> Job:
    """Ask who answers in ``prefix``. ``add``: list the new ones; ``user``: with this login for the whole prefix.

    Raises InvalidValue for ranges that are too large or hold no BMC, like loopback.
    """
    network = read.prefix(prefix, "range")
    read.bmc_address(network.network_address if network.num_addresses == 1 else network[1], "range")
    if network.num_addresses > MOST:
        raise InvalidValue("range", network, f"has more than {MOST} addresses", "scan it in parts, like /18 or /22")
    if user and not add:
        raise InvalidValue("user", user, "is given without --add", "a scan logs in nowhere; add --add to list BMCs")
    if user:
        logins.put_login(store, {"prefix": str(network), "user": user, "password": password}, actor=actor, now=now)
    total = len(_addresses(network, 0, MOST))
    with store.transaction(actor) as tx:
        args = {"range": str(network), "add": add}
        return tx.jobs.put(Job(uuid4(), "scan", args, actor, now, total=total))


def go_on(
    store: Store,
    port: BmcPort,
    job: Job,
    clock: Callable[[], int],
    kept: Callable[[Job, Mapping[str, Any], int], Job],
) -> Job:
    """From the address where the job stands to the end. ``kept`` stores results and the count of addresses done."""
    network = read.prefix(job.args["range"], "range")
    while chunk := _addresses(network, job.done, CHUNK):
        swept = port.scan(chunk)
        with store.transaction(job.actor) as tx:
            results = {found.address: _result(tx, found, job, clock()) for found in swept.found}
        for address, why in swept.left_out:
            results[address] = {"ok": True, "name": address, "said": f"not asked: {why}", "protocols": []}
        job = kept(job, results, job.done + len(chunk))
    return job


def _addresses(network: IPNetwork, start: int, count: int) -> list[str]:
    """Of those that a host can have, ``count`` from place ``start``."""
    edge = 1 if network.version == 4 and network.prefixlen < 31 else 0
    hosts = range(edge, network.num_addresses - edge)[start : start + count]
    return [str(network[place]) for place in hosts]


def _result(tx: Transaction, found: Presence, job: Job, now: int) -> dict[str, Any]:
    known = next((bmc for bmc in tx.bmcs.list() if bmc.address == found.address), None)
    if known is None and job.args["add"]:
        known, said = _add(tx, found, now), "listed"
    else:
        said = "new" if known is None else "known"
    who = " ".join(word for word in (found.vendor, found.model) if word)
    return {
        "ok": True,
        "name": found.address,
        "said": f"{' and '.join(found.protocols)}{', ' + who if who else ''}: {said}",
        **{**asdict(found), "protocols": list(found.protocols)},
        "listed": said,
    }


def _add(tx: Transaction, found: Presence, now: int) -> Bmc:
    """A chassis manager as such; else Redfish where it answers, which tells more. Its certificate is pinned."""
    protocol = next(each for each in ("cmm", "redfish", "ipmi") if each in found.protocols)
    certificate = "" if protocol == "ipmi" else found.certificate
    bmc = tx.bmcs.put(Bmc(uuid4(), found.address, PROTOCOLS[protocol], protocol, certificate=certificate))
    said = f"added BMC {bmc.address} ({bmc.protocol}, port {bmc.port}): a scan of its network found it"
    tx.events.add(Event(Kind.BMC_CHANGED, said, now, actor=tx.actor))
    return bmc
