"""A scan as a job: what it lists, what it leaves out, and how it goes on after an interruption."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from provisioner.actions import bmc_jobs, bmcs, logins, scan
from provisioner.domain.bmc import Presence, Sweep
from provisioner.domain.errors import InvalidValue
from provisioner.domain.records import Job
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}
FOUND = {
    "10.9.0.5": Presence("10.9.0.5", ("ipmi",), "Supermicro"),
    "10.9.2.7": Presence("10.9.2.7", ("ipmi", "redfish"), "HPE", "ProLiant", "ab" * 32),
}


class Air:
    """Where ``FOUND`` answers, and ``ours`` is left out."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dies_behind = 10**6

    def scan(self, addresses: Sequence[str]) -> Sweep:
        if len(self.asked) >= self.dies_behind:
            raise KeyboardInterrupt
        self.asked += addresses
        ours = tuple((a, "is an address of the appliance itself") for a in addresses if a == "10.9.0.1")
        return Sweep(tuple(FOUND[a] for a in addresses if a in FOUND), ours)


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return open_store(tmp_path)


def run(store: SqlStore, air: Air, job: Job) -> Job:
    return bmc_jobs.run(store, air, job, lambda: NOW)  # type: ignore[arg-type]


def test_a_scan_tells_new_from_known_and_lists_nothing_unasked(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.5"}, **WHO)
    job = run(store, Air(), scan.enqueue_scan(store, "10.9.0.0/22", **WHO))
    assert (job.state, job.done, job.total) == ("done", 1022, 1022)
    told = {address: result["listed"] for address, result in job.result.items() if result["protocols"]}
    assert told == {"10.9.0.5": "known", "10.9.2.7": "new"}
    assert job.result["10.9.0.1"]["said"] == "not asked: is an address of the appliance itself"
    with store.reading() as tx:
        assert [bmc.address for bmc in tx.bmcs.list()] == ["10.9.0.5"]


def test_added_bmcs_have_the_ranges_login_and_their_certificate_pinned(store: SqlStore) -> None:
    job = scan.enqueue_scan(store, "10.9.0.0/22", add=True, user="admin", password="hunter2", **WHO)
    assert "hunter2" not in repr(job)
    run(store, Air(), job)
    with store.reading() as tx:
        listed = {bmc.address: bmc for bmc in tx.bmcs.list()}
        assert {a: (b.protocol, b.port, b.certificate) for a, b in listed.items()} == {
            "10.9.0.5": ("ipmi", 623, ""),
            "10.9.2.7": ("redfish", 443, "ab" * 32),
        }
        for bmc in listed.values():
            assert [(c.user, c.password) for c in logins.candidates(tx, bmc)] == [("admin", "hunter2")]


def test_an_interrupted_scan_goes_on_behind_what_it_had_asked(store: SqlStore) -> None:
    air = Air()
    air.dies_behind = scan.CHUNK
    job = scan.enqueue_scan(store, "10.9.0.0/22", **WHO)
    with pytest.raises(KeyboardInterrupt):
        run(store, air, job)
    air.dies_behind = 10**6
    with store.reading() as tx:
        job = tx.jobs.get(str(job.id))
    done = run(store, air, job)
    assert sorted(a for a, result in done.result.items() if result["protocols"]) == ["10.9.0.5", "10.9.2.7"]
    assert len(air.asked) == len(set(air.asked)) == 1022


@pytest.mark.rule("threat-05")
@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("127.0.0.0/24", "cannot be a BMC's"),
        ("169.254.169.0/24", "cannot be a BMC's"),
        ("224.0.0.0/24", "cannot be a BMC's"),
        ("10.0.0.0/8", "more than 16384 addresses"),
        ("fd00::/64", "more than 16384 addresses"),
        ("10.9.0.5/22", "host bits set"),
        ("bmcs", "is not a network"),
    ],
)
def test_ranges_that_hold_no_bmcs_are_refused(store: SqlStore, prefix: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        scan.enqueue_scan(store, prefix, **WHO)


def test_a_login_without_a_wish_to_list_is_refused(store: SqlStore) -> None:
    with pytest.raises(InvalidValue, match="--add"):
        scan.enqueue_scan(store, "10.9.0.0/22", user="admin", password="x", **WHO)


def test_one_address_and_point_to_point_ranges_have_no_edges(store: SqlStore) -> None:
    assert scan.enqueue_scan(store, "10.9.0.5/32", **WHO).total == 1
    assert scan.enqueue_scan(store, "10.9.0.4/31", **WHO).total == 2
    assert scan.enqueue_scan(store, "10.9.0.4/30", **WHO).total == 2
