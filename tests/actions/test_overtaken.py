"""What was asked for is overtaken before it is done: the later word counts, no power is switched for nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.actions import arm, bmc_jobs, enrol, power
from provisioner.actions.bmcs import add_bmc
from provisioner.domain import lifecycle
from provisioner.domain.bmc import Bmc, BootDevice, Login, Power
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine, Phase, State
from provisioner.domain.records import Job
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store
from tests.web.appliance import Compiled, Compiler

WHO = {"actor": "test", "now": NOW}
KEY = b"k" * 32


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path)
    add_bmc(made, {"address": "10.9.0.1", "user": "admin", "password": "pw"}, **WHO)
    fields = {"name": "n1", "mac": "52:54:00:00:00:01", "ip": "10.12.1.21", "role": "simple", "bmc": "10.9.0.1"}
    enrol.add_machine(made, fields, **WHO)
    return made


def happens(store: SqlStore, step: Callable[[Machine], Machine]) -> Machine:
    """What another process writes of n1."""
    with store.transaction("another") as tx:
        after = step(tx.machines.get("n1"))
        tx.machines.put_progress(after)
        return after


class Overtaken(Compiler):
    """While it compiles, something happens to the machine."""

    def __init__(self, store: SqlStore, step: Callable[[Machine], Machine]) -> None:
        self._store, self._step = store, step

    def compile(self, machine: Machine, inventory: Inventory) -> Compiled:
        happens(self._store, self._step)
        return super().compile(machine, inventory)


@pytest.mark.parametrize(
    ("step", "state"),
    [
        (
            lambda machine: lifecycle.quarantined(machine, "another board boots with its MAC", NOW),
            State.QUARANTINED,
        ),
        (lambda machine: lifecycle.retired(machine, NOW), State.RETIRED),
        (lambda machine: lifecycle.install_script_served(machine, NOW), State.INSTALLING),
        (lambda machine: lifecycle.disarmed(machine, NOW), State.READY),
    ],
    ids=["quarantined", "retired", "began to install", "disarmed"],
)
def test_what_happens_while_a_machine_is_compiled_stands(
    store: SqlStore, step: Callable[[Machine], Machine], state: State
) -> None:
    first = arm.arm(store, Compiler(), KEY, "n1", **WHO)
    with pytest.raises(Refused, match=f"was changed while it was being armed, and is {state} now; look at it"):
        arm.arm(store, Overtaken(store, step), KEY, "n1", **WHO)
    with store.reading() as tx:
        there = tx.machines.get("n1")
    assert there.state is state
    assert there.install and first.install and there.install.id == first.install.id, (
        "an install under way keeps its token"
    )


class Asked:
    """A BMC that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        self.asked.append(str(operation))
        return Power.ON

    def set_boot_device(self, bmc: Bmc, login: Login, device: BootDevice, **_: bool) -> None:
        self.asked.append(str(device))


def carried_out(store: SqlStore) -> tuple[Job, list[str]]:
    bmc = Asked()
    job = bmc_jobs.work(store, bmc, lambda: NOW)  # type: ignore[arg-type]
    assert job is not None
    return job, bmc.asked


def test_a_machine_that_waits_for_its_install_is_switched(store: SqlStore) -> None:
    power.enqueue_install(store, Compiler(), KEY, ["n1", "52:54:00:00:00:01"], **WHO)
    job, asked = carried_out(store)
    assert (job.state, asked) == ("done", ["network", "status", "cycle"])


@pytest.mark.parametrize("step", [lifecycle.disarmed, lifecycle.released], ids=["disarmed", "released"])
def test_who_is_disarmed_before_the_job_comes_to_it_keeps_running(
    store: SqlStore, step: Callable[[Machine, int], Machine]
) -> None:
    power.enqueue_install(store, Compiler(), KEY, ["n1"], **WHO)
    machine = happens(store, lambda machine: step(machine, NOW))
    job, asked = carried_out(store)
    assert (job.state, asked) == ("failed", [])
    assert "machine n1 is ready by now" in job.result[str(machine.id)]["said"]


def test_an_install_that_began_by_itself_is_not_cut_off(store: SqlStore) -> None:
    power.enqueue_install(store, Compiler(), KEY, ["n1"], **WHO)

    def begins(machine: Machine) -> Machine:
        return lifecycle.observed(lifecycle.install_script_served(machine, NOW), Phase.DISK, NOW)

    machine = happens(store, begins)
    job, asked = carried_out(store)
    assert (job.state, asked) == ("done", [])
    assert job.result[str(machine.id)]["said"] == "is at its install already; its power is left alone"


def test_many_are_armed_and_switched_or_none(store: SqlStore) -> None:
    """One refusal among three hundred must not leave some armed whose next reboot wipes them."""
    for n, role in ((2, "simple"), (3, "broken")):
        fields = {"name": f"n{n}", "mac": f"52:54:00:00:00:0{n}", "ip": f"10.12.1.2{n}", "bmc": f"10.9.0.{n}"}
        enrol.add_machine(store, {**fields, "role": role}, **WHO)

    class Partly(Compiler):
        def compile(self, machine: Machine, inventory: Inventory) -> Compiled:
            if machine.slot.role == "broken":
                raise Refused("role broken does not render for n3", "correct the role")
            return super().compile(machine, inventory)

    with pytest.raises(Refused, match="does not render for n3"):
        power.enqueue_install(store, Partly(), KEY, ["n1", "n2", "n3"], **WHO)
    with store.reading() as tx:
        assert [machine.state for machine in tx.machines.list()] == [State.READY] * 3
        assert not tx.jobs.list()
    job = power.enqueue_install(store, Partly(), KEY, ["n1", "n2"], **WHO)
    assert (len(job.args["installs"]), job.total) == (2, 2)


def test_a_later_install_is_switched_once(store: SqlStore) -> None:
    """The script that asked was repeated: what it armed first is void, and so is the switching for it."""
    for seconds in range(2):
        power.enqueue_install(store, Compiler(), KEY, ["n1"], actor="test", now=NOW + seconds * lifecycle.SECOND)
    first, second = (carried_out(store)[1] for _ in range(2))
    assert (first, second) == ([], ["network", "status", "cycle"])


def test_a_hang_in_the_second_attempts_boot_is_still_switched(store: SqlStore) -> None:
    power.enqueue_install(store, Compiler(), KEY, ["n1"], **WHO)
    carried_out(store)

    def boots_again(machine: Machine) -> Machine:
        begun = lifecycle.install_script_served(machine, NOW)
        assert begun.install is not None
        return replace(begun, install=replace(begun.install, phase=Phase.LOADER))

    machine = happens(store, boots_again)
    with store.transaction("watchdog") as tx:
        power.enqueue_power_cycle(tx, machine, NOW)
    assert carried_out(store)[1] == ["network", "status", "cycle"]
