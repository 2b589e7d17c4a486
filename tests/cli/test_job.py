"""A job that is interrupted on the command line, and gone on with."""

import threading

import pytest

from provisioner import wiring
from provisioner.actions import enrol, power
from provisioner.actions.bmcs import add_bmc
from provisioner.domain.bmc import Bmc, Login, Power
from provisioner.domain.records import Job
from provisioner.settings import load
from provisioner.wiring import House
from tests.cli.conftest import Run

WHO = {"actor": "cli:ada", "now": 1_700_000_000_000_000}


class Rack:
    """Counts how often each server was cycled; the first few ones answer, the others wait until they may."""

    cycled: list[str]
    may: threading.Event

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        self.cycled.append(bmc.address)
        self.may.wait(10)
        return Power.ON

    def close(self) -> None:
        return


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    made = Rack()
    made.cycled, made.may = [], threading.Event()
    monkeypatch.setattr(wiring, "WorkerPool", lambda: made)
    return made


def test_an_interrupted_cycle_is_given_back_and_nobody_is_cycled_twice(run: Run, rack: Rack) -> None:
    with House.open(load(None)) as house:
        for n in range(1, 41):
            add_bmc(house.store, {"address": f"10.9.0.{n}", "user": "u", "password": "p"}, **WHO)
            fields = {"name": f"n{n}", "mac": f"52:54:00:00:00:{n:02x}", "rack": "r1", "bmc": f"10.9.0.{n}"}
            enrol.add_machine(house.store, fields, **WHO)
        job = power.enqueue(house.store, [], "cycle", rack="r1", **WHO)

        def interrupted(seen: Job) -> None:
            rack.may.set()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            house.finish(job, interrupted)
        with house.store.reading() as tx:
            left = tx.jobs.get(str(job.id))
        assert left.state == "queued"
        assert 0 < left.done < 40
        assert all(result["ok"] for result in left.result.values())
    listed = run("job", "list", "--json").json[0]
    assert (listed["state"], listed["done"], listed["total"]) == ("queued", left.done, 40)
    resumed = run("job", "resume", str(job.id), "--json")
    assert (resumed.code, resumed.json["state"], len(resumed.json["result"])) == (0, "done", 40)
    assert sorted(rack.cycled) == sorted(f"10.9.0.{n}" for n in range(1, 41))
