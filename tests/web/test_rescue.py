"""A live system in memory: asked for once by an operator, or at each boot of a failed machine by its role."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.actions import live
from provisioner.domain.errors import IllegalTransition, Refused
from provisioner.domain.machine import OnFailure
from tests.web.appliance import IP, MAC, OTHER_IP, OTHER_MAC, Appliance, make_appliance

BOOT = f"/boot.ipxe?mac={MAC}"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path):
        made.add("node-1", MAC, IP)
        yield made


def ask(appliance: Appliance, role: str = "rescue") -> None:
    live.ask(appliance.store, appliance.parts.compiler, "node-1", role, actor="user:ada", now=appliance.clock())


def boots(appliance: Appliance) -> str:
    return appliance.client().get(BOOT).text


def failed(appliance: Appliance, on_failure: OnFailure = OnFailure.DISK) -> None:
    appliance.arm("node-1")
    boots(appliance)
    token = appliance.token("node-1")
    appliance.client().get(f"/b/{token}/install.sh")
    appliance.client().post(f"/b/{token}/failed", json={"phase": "disk", "reason": "no disk"})
    machine = appliance.machine("node-1")
    assert machine.state == "failed" and machine.install
    if on_failure is not OnFailure.DISK:
        with appliance.store.transaction("test") as tx:
            tx.machines.put(replace(machine, install=replace(machine.install, on_failure=on_failure)))


def test_a_failed_machine_boots_the_rescue_once_when_it_is_asked_to(appliance: Appliance) -> None:
    failed(appliance)
    before = boots(appliance)
    ask(appliance)
    script = boots(appliance)
    assert "kernel live-rescue" in script
    path = re.search(r"http://10\.12\.0\.1(/b/live\.rescue\.\S+)", script)
    assert path and appliance.client().get(path[1]).text == "for a look\n"
    assert boots(appliance) == before, "once"
    machine = appliance.machine("node-1")
    assert (machine.state, machine.live) == ("failed", "")
    said = {(event.actor, event.message) for event in appliance.events("node-1")}
    assert ("user:ada", "asked for: its next boot is rescue, once, from memory") in said
    assert ("machine", "boots rescue from memory, as it was asked to, once") in said


def test_nothing_is_installed_counted_or_armed_by_it(appliance: Appliance) -> None:
    failed(appliance)
    install = appliance.machine("node-1").install
    ask(appliance, "memtest")
    assert "kernel live-memtest" in boots(appliance)
    assert appliance.machine("node-1").install == install


def test_a_role_may_call_for_the_rescue_at_every_boot_after_a_failure(appliance: Appliance) -> None:
    failed(appliance, OnFailure.RESCUE)
    assert "kernel live-rescue" in boots(appliance)
    assert "kernel live-rescue" in boots(appliance)


def test_the_wish_can_be_taken_back_and_arming_comes_first(appliance: Appliance) -> None:
    before = boots(appliance)
    ask(appliance)
    ask(appliance, "")
    assert boots(appliance) == before
    ask(appliance)
    appliance.arm("node-1")
    assert "cloud-config-url" in boots(appliance)
    assert appliance.machine("node-1").live == ""
    with pytest.raises(IllegalTransition, match="is armed and boots no rescue"):
        ask(appliance)


def test_what_installs_is_not_booted_from_memory(appliance: Appliance) -> None:
    with pytest.raises(Refused, match="role worker installs"):
        ask(appliance, "worker")
    assert appliance.machine("node-1").live == ""


def test_only_the_machine_itself_is_given_it_and_its_files(appliance: Appliance) -> None:
    appliance.add("node-2", OTHER_MAC, OTHER_IP)
    ask(appliance)
    assert appliance.client(OTHER_IP).get(BOOT).status_code == 403
    assert appliance.machine("node-1").live == "rescue", "still wanted"
    path = re.search(r"http://10\.12\.0\.1(/b/live\.rescue\.\S+)", boots(appliance))
    assert path
    assert appliance.client(OTHER_IP).get(path[1]).status_code == 403
    assert appliance.client("10.12.9.9").get(path[1]).status_code == 403
    assert appliance.client().get(path[1].replace("live.rescue", "live.memtest")).status_code == 403
    assert appliance.client().get(path[1].replace("rescue.yml", "other.yml")).status_code == 404
    assert appliance.client().get(path[1].replace("rescue.yml", "boot.ipxe")).status_code == 404
    before = appliance.machine("node-1")
    assert appliance.client().post(path[1].replace("rescue.yml", "complete")).status_code == 200
    assert appliance.machine("node-1") == before, "told, and nothing else"
    assert appliance.client(OTHER_IP).post(path[1].replace("rescue.yml", "complete")).status_code == 403
    appliance.clock.advance(31 * 60)
    assert appliance.client().get(path[1]).status_code == 403


def test_while_the_database_is_away_the_wish_is_neither_served_nor_lost(appliance: Appliance) -> None:
    ask(appliance)
    appliance.snapshot.hold()
    appliance.store.away = True
    assert appliance.client().get(BOOT).status_code == 503
    appliance.store.away = False
    assert "kernel live-rescue" in boots(appliance)
