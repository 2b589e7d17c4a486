"""``arm: on-discovery``: a listed machine that is switched on installs, once per slot, with no keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.actions import arm, subnets
from tests.web.appliance import IP, MAC, Appliance, make_appliance

BOOT = f"/boot.ipxe?mac={MAC}"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    yield from make_appliance(tmp_path)


def installs(text: str) -> bool:
    return "kernel" in text


@pytest.mark.parametrize("who_says", ["role", "subnet"])
def test_its_first_power_on_installs_it(appliance: Appliance, who_says: str) -> None:
    if who_says == "subnet":
        subnets.put_subnet(appliance.store, "10.12.0.0/16", {"arm": "on-discovery"}, actor="test", now=0)
    appliance.add("node-1", MAC, IP, role="eager" if who_says == "role" else "simple")
    assert installs(appliance.client().get(BOOT).text)
    assert appliance.client().get(f"/b/{appliance.token('node-1')}/install.sh").status_code == 200
    machine = appliance.machine("node-1")
    assert (machine.state, machine.slot.armed_itself) == ("installing", True)
    assert "first power-on" in {event.actor for event in appliance.events("node-1")}


def test_it_happens_once_per_slot(appliance: Appliance) -> None:
    machine = appliance.add("node-1", MAC, IP, role="eager")
    appliance.client().get(BOOT)
    appliance.client().get(f"/b/{appliance.token('node-1')}/install.sh")
    appliance.client().post(f"/b/{appliance.token('node-1')}/complete")
    assert not installs(appliance.client().get(BOOT).text)
    # Given back, it is ready as on its first day; only an operator installs it again.
    arm.release(appliance.store, str(machine.id), actor="test", now=appliance.clock())
    assert appliance.machine("node-1").state == "ready"
    assert not installs(appliance.client().get(BOOT).text)


def test_only_the_machine_itself_can_start_it(appliance: Appliance) -> None:
    appliance.add("node-1", MAC, IP, role="eager")
    assert not installs(appliance.client("10.12.1.66").get(BOOT).text)
    assert appliance.machine("node-1").state == "ready"


def test_without_such_a_policy_a_power_on_installs_nothing(appliance: Appliance) -> None:
    appliance.add("node-1", MAC, IP)
    assert not installs(appliance.client().get(BOOT).text)
    assert appliance.machine("node-1").state == "ready"


def test_while_the_database_is_away_it_boots_its_disk_and_says_why(appliance: Appliance) -> None:
    appliance.add("node-1", MAC, IP, role="eager")
    appliance.store.away = True
    assert not installs(appliance.client().get(BOOT).text)
    assert any("cannot be armed" in event.message for event in appliance.seen.events)
    appliance.store.away = False
    assert installs(appliance.client().get(BOOT).text)
