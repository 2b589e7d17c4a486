"""Power in waves: who, when, how often, and what a job does that died in the middle."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.actions import bmc_jobs, enrol, power
from provisioner.actions.bmcs import add_bmc
from provisioner.domain.bmc import Bmc, Login, Power
from provisioner.domain.errors import BmcError, InvalidValue, Refused
from provisioner.domain.records import Job
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}


class Rack:
    """Servers whose power is a table; ``dies_at`` ends the process in the middle of that BMC's operation."""

    def __init__(self, dies_at: str = "") -> None:
        self.state: dict[str, Power] = {}
        self.switched: Counter[str] = Counter()
        self.order: list[str] = []
        self.dies_at = dies_at
        self._guard = threading.Lock()

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        with self._guard:
            before = self.state.get(bmc.address, Power.OFF)
            after = Power.OFF if operation is Power.OFF else Power.ON
            if operation is not Power.STATUS and (operation is Power.CYCLE or before is not after):
                self.switched[bmc.address] += 1
                self.order.append(bmc.address)
                self.state[bmc.address] = after
        if bmc.address == self.dies_at:
            raise KeyboardInterrupt
        if bmc.address == "10.9.0.3":
            raise BmcError("unreachable", "BMC 10.9.0.3 does not answer", "check its cable")
        return after


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path)
    for n in range(1, 8):
        add_bmc(made, {"address": f"10.9.0.{n}", "user": "admin", "password": "pw"}, **WHO)
        fields = {"name": f"n{n}", "mac": f"52:54:00:00:00:0{n}", "rack": "r1" if n < 7 else "r2", "unit": n}
        enrol.add_machine(made, {**fields, "bmc": f"10.9.0.{n}"}, **WHO)
    enrol.add_machine(made, {"name": "dumb", "mac": "52:54:00:00:00:99", "rack": "r1", "unit": 40}, **WHO)
    return made


def run(store: SqlStore, rack: Rack, job: Job, pauses: list[float] | None = None) -> Job:
    paused = [] if pauses is None else pauses
    return bmc_jobs.run(store, rack, job, lambda: NOW, sleep=paused.append)  # type: ignore[arg-type]


def again(store: SqlStore, job: Job) -> Job:
    """The job as the next worker leases it."""
    with store.transaction("bmc") as tx:
        stored = tx.jobs.get(str(job.id))
        tx.jobs.put(replace(stored, state="running", lease_until=NOW - 1))
        leased = tx.jobs.lease(bmc_jobs.KINDS, NOW, NOW + bmc_jobs.LEASE)
    assert leased is not None
    return leased


def test_a_rack_comes_on_in_waves_along_its_units(store: SqlStore) -> None:
    rack, pauses = Rack(), []
    job = power.enqueue(store, [], "on", rack="r1", wave=2, every=5, **WHO)
    done = run(store, rack, job, pauses)
    assert pauses == [5, 5]
    assert [set(rack.order[n : n + 2]) for n in (0, 2, 4)] == [
        {"10.9.0.1", "10.9.0.2"},
        {"10.9.0.3", "10.9.0.4"},
        {"10.9.0.5", "10.9.0.6"},
    ]
    assert (done.state, done.done, done.total) == ("partly", 6, 6)
    told = {result["name"]: (result["ok"], result["said"]) for result in done.result.values()}
    assert told["n1"] == (True, "BMC 10.9.0.1: power on, now on")
    assert told["n3"] == (False, "BMC 10.9.0.3 does not answer; check its cable")


@pytest.mark.parametrize("operation", ["cycle", "on"])
def test_a_job_that_died_goes_on_and_switches_nobody_twice(store: SqlStore, operation: str) -> None:
    rack = Rack(dies_at="10.9.0.4")
    job = power.enqueue(store, [], operation, rack="r1", wave=1, **WHO)
    with pytest.raises(KeyboardInterrupt):
        run(store, rack, job)
    rack.dies_at = ""
    done = run(store, rack, again(store, job))
    assert rack.switched == Counter({f"10.9.0.{n}": 1 for n in range(1, 7)})
    fourth = next(result for result in done.result.values() if result["name"] == "n4")
    if operation == "cycle":
        assert "is not switched again" in fourth["said"]
    else:
        assert fourth["ok"]


def test_a_repeated_request_is_the_same_job_and_another_for_the_same_machine_is_refused(store: SqlStore) -> None:
    first = power.enqueue(store, ["n1", "n2"], "cycle", **WHO)
    assert power.enqueue(store, ["n1", "n2"], "cycle", actor="test", now=NOW + 1).id == first.id
    said = rf"machine n[12] is about to be switched \(cycle, job {first.id}\); `provisioner job show"
    with pytest.raises(Refused, match=said):
        power.enqueue(store, ["n2"], "reset", **WHO)
    with pytest.raises(Refused, match=said):
        power.enqueue(store, ["n1", "n2"], "cycle", actor="somebody else", now=NOW)
    power.enqueue(store, ["n2"], "on", actor="test", now=NOW + 1)
    power.enqueue(store, ["n4"], "cycle", actor="test", now=NOW + 1)
    rack = Rack()
    run(store, rack, again(store, first))
    assert rack.switched == {"10.9.0.1": 1, "10.9.0.2": 1}
    assert power.enqueue(store, ["n1", "n2"], "cycle", **WHO).id != first.id, (
        "once it is over it may be asked again"
    )


def test_a_server_that_was_cycled_already_may_be_cycled_again_while_others_wait(store: SqlStore) -> None:
    first = power.enqueue(store, ["n1", "n2"], "cycle", wave=1, every=60, **WHO)

    def halfway(_: float) -> None:
        power.enqueue(store, ["n1"], "cycle", **WHO)
        with pytest.raises(Refused, match="machine n2 is about to be switched"):
            power.enqueue(store, ["n2"], "cycle", **WHO)

    done = bmc_jobs.run(store, Rack(), again(store, first), lambda: NOW, sleep=halfway)  # type: ignore[arg-type]
    assert (done.state, done.done) == ("done", 2)


def test_what_makes_no_job_is_refused(store: SqlStore) -> None:
    with pytest.raises(Refused, match="no machine of rack r9 has a BMC"):
        power.enqueue(store, [], "on", rack="r9", **WHO)
    with pytest.raises(Refused, match="machine dumb has no BMC"):
        power.enqueue(store, ["dumb"], "on", **WHO)
    with pytest.raises(Refused, match="no machine is named"):
        power.enqueue(store, [], "on", **WHO)
    with pytest.raises(InvalidValue, match="makes no waves"):
        power.enqueue(store, ["n1"], "on", wave=-1, **WHO)
    # Named twice is switched once.
    assert power.enqueue(store, ["n1", "52:54:00:00:00:01"], "on", rack="r1", **WHO).total == 6
