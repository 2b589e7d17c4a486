"""The boot menu as a machine's console meets it: off by default, and a choice is a wish that the server judges."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from httpx import Response

from provisioner.actions import enrol, subnets
from provisioner.boot.simulate import simulate
from tests.web.appliance import IP, MAC, OTHER_IP, OTHER_MAC, PASSWORD, SERVER, Appliance, make_appliance

BOOT = f"/boot.ipxe?mac={MAC}"
PAST = f"{BOOT}&menu=past"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path):
        made.add("node-1", MAC, IP)
        yield made


def offer(appliance: Appliance, menu: str = "worker;rescue;gone", *, password: bool = False) -> None:
    subnets.put_subnet(appliance.store, "10.12.0.0/16", {"menu": menu}, actor="test", now=0)
    if password:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        with appliance.store.transaction("test") as tx:
            tx.subnets.put(replace(tx.subnets.get("10.12.0.0/16"), menu_password=cheap))


def shown(appliance: Appliance, ip: str = IP) -> str:
    return appliance.client(ip).get(BOOT).text


def choose(
    appliance: Appliance, role: str, *, ip: str = IP, menu: str = "", sent: str = "", uuid: str = ""
) -> Response:
    """As iPXE does: the URL of the menu that was shown, with the choice in it."""
    script = menu or shown(appliance)
    found = re.search(r"http://(?:\S*@)?10\.12\.0\.1(/menu/[^/]+/)\$\{choice\}", script)
    assert found, script
    headers = {"Authorization": sent} if sent else {}
    return appliance.client(ip).get(f"{found[1]}{role}?mac={MAC}&uuid={uuid}", headers=headers)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"console:{password}".encode()).decode()


def told(appliance: Appliance) -> str:
    return "\n".join(event.message for event in (*appliance.events("node-1"), *appliance.seen.events))


def test_there_is_no_menu_unless_an_operator_names_roles(appliance: Appliance) -> None:
    assert "choose" not in shown(appliance)
    offer(appliance)
    assert "item -- worker worker: What worker is" in shown(appliance)
    enrol.change_machine(appliance.store, "node-1", {"menu": "none"}, actor="test", now=0)
    assert "choose" not in shown(appliance)


def test_without_a_choice_it_goes_on_as_without_a_menu(appliance: Appliance) -> None:
    before = shown(appliance)
    offer(appliance)
    assert shown(appliance) != before
    assert appliance.client().get(PAST).text == before
    appliance.arm("node-1")
    assert "choose" in shown(appliance)
    assert "kernel" in appliance.client().get(PAST).text
    assert "gets a menu of worker, rescue, gone" in told(appliance)


def test_the_menu_alone_changes_nothing(appliance: Appliance) -> None:
    offer(appliance)
    before = appliance.machine("node-1")
    shown(appliance)
    assert appliance.machine("node-1") == before


def test_a_chosen_role_is_armed_and_installs_and_the_timeline_says_how(appliance: Appliance) -> None:
    offer(appliance)
    script = choose(appliance, "worker").text
    assert f"/b/{appliance.token('node-1')}/pxe.yml" in script
    machine = appliance.machine("node-1")
    assert (machine.state, machine.slot.role) == ("armed", "worker")
    assert machine.install is not None and machine.install.boots == 1
    said = {(event.actor, event.kind) for event in appliance.events("node-1")}
    assert {("console", "menu.choice"), ("console", "machine.state"), ("console", "machine.changed")} <= said


def test_a_choice_from_memory_installs_nothing_and_changes_nothing(appliance: Appliance) -> None:
    offer(appliance)
    before = appliance.machine("node-1")
    script = choose(appliance, "rescue").text
    assert "kernel live-rescue" in script
    path = re.search(r"http://10\.12\.0\.1(/b/live\.rescue\.\S+)", script)
    assert path and appliance.client().get(path[1]).text == "for a look\n"
    assert appliance.machine("node-1") == before
    assert "rescue was chosen at the console: booted from memory" in told(appliance)


@pytest.mark.parametrize("role", ["simple", "gone", "memtest", "nonsense", "..%2f"])
def test_what_is_not_on_the_menu_is_not_to_be_had(appliance: Appliance, role: str) -> None:
    offer(appliance)
    assert choose(appliance, role).status_code in (403, 404)
    assert appliance.machine("node-1").state == "ready"


def test_a_role_taken_off_the_menu_meanwhile_is_refused(appliance: Appliance) -> None:
    offer(appliance)
    menu = shown(appliance)
    offer(appliance, "rescue")
    assert choose(appliance, "worker", menu=menu).status_code == 403
    assert appliance.machine("node-1").state == "ready"


def test_only_the_machine_itself_chooses_and_only_from_a_menu_it_was_shown(appliance: Appliance) -> None:
    offer(appliance)
    appliance.add("node-2", OTHER_MAC, OTHER_IP)
    assert choose(appliance, "worker", ip=OTHER_IP).status_code == 403
    appliance.neighbours[IP] = OTHER_MAC
    assert choose(appliance, "worker").status_code == 403
    del appliance.neighbours[IP]
    assert appliance.client().get(f"/menu/1.x/worker?mac={MAC}").status_code == 403
    assert appliance.client().get("/menu/1.x/worker?mac=52:54:00:00:00:99").status_code == 403
    assert appliance.client().get("/menu/1.x/worker").status_code == 400
    menu = shown(appliance)
    appliance.clock.advance(31 * 60)
    assert choose(appliance, "worker", menu=menu).status_code == 403
    assert appliance.machine("node-1").state == "ready"
    assert "too old" in told(appliance)


def test_a_board_that_is_another_is_not_armed_by_its_console(appliance: Appliance) -> None:
    offer(appliance)
    with appliance.store.transaction("test") as tx:
        tx.machines.put(replace(tx.machines.get("node-1"), uuid=UUID(int=0x1234567890)))
    appliance.add("node-2", OTHER_MAC, OTHER_IP)
    with appliance.store.transaction("test") as tx:
        tx.machines.put(replace(tx.machines.get("node-2"), uuid=UUID(int=0x9876543210)))
    assert choose(appliance, "worker", uuid=str(UUID(int=0x9876543210))).status_code == 403
    assert appliance.machine("node-1").state == "ready"


def test_while_it_installs_no_menu_comes_between(appliance: Appliance) -> None:
    offer(appliance)
    menu = shown(appliance)
    choose(appliance, "worker")
    appliance.client().get(f"/b/{appliance.token('node-1')}/install.sh")
    assert "choose" not in shown(appliance)
    assert choose(appliance, "worker", menu=menu).status_code == 403


def test_a_password_is_asked_for_and_a_wrong_one_costs_time(appliance: Appliance) -> None:
    offer(appliance, password=True)
    menu = shown(appliance)
    assert "login" in menu
    first = choose(appliance, "worker", menu=menu)
    assert (first.status_code, first.headers["WWW-Authenticate"]) == (401, 'Basic realm="boot menu"')
    for _ in range(4):
        refused = choose(appliance, "worker", menu=menu, sent=basic("guess"))
        assert "wrong password" in refused.text and "kernel" not in refused.text
    waits = choose(appliance, "worker", menu=menu, sent=basic(PASSWORD))
    assert "too many wrong passwords" in waits.text
    assert appliance.machine("node-1").state == "ready"
    assert told(appliance).count("chose worker at the console with a wrong password") == 4
    assert "guess" not in told(appliance)


def test_with_the_password_the_choice_is_carried_out(appliance: Appliance) -> None:
    offer(appliance, password=True)
    assert "kernel" in choose(appliance, "worker", sent=basic(PASSWORD)).text
    assert appliance.machine("node-1").state == "armed"


@pytest.mark.parametrize("sent", ["Basic ***", "Bearer x", "Basic /w=="])
def test_credentials_that_cannot_be_read_are_none(appliance: Appliance, sent: str) -> None:
    offer(appliance, password=True)
    assert choose(appliance, "worker", sent=sent).status_code == 401


def test_what_cannot_be_armed_says_so_and_asks_again(appliance: Appliance) -> None:
    offer(appliance)
    menu = shown(appliance)
    appliance.snapshot.hold()
    with appliance.store.transaction("test") as tx:
        tx.machines.put(replace(tx.machines.get("node-1"), addresses=()))
    answer = choose(appliance, "worker", menu=menu)
    assert answer.status_code == 200
    assert "worker cannot be had" in answer.text and "chain http://10.12.0.1/boot.ipxe" in answer.text
    assert appliance.machine("node-1").slot.role == "simple"


def test_while_the_database_is_away_there_is_no_choice_that_could_be_kept(appliance: Appliance) -> None:
    offer(appliance)
    appliance.snapshot.hold()
    menu = shown(appliance)
    appliance.store.away = True
    assert choose(appliance, "rescue", menu=menu).status_code == 503


def test_simulate_shows_the_menu_as_it_is_served(appliance: Appliance) -> None:
    offer(appliance)
    told = simulate(
        appliance.parts.compiler, appliance.snapshot.inventory, appliance.machine("node-1"), appliance.clock()
    )
    served = re.sub(r"/menu/[^/]+/", "/menu/@@MENU_PASS@@/", shown(appliance)).replace(SERVER, "@@SERVER@@")
    assert told["menu"]["script"] == served
    assert told["boot_script"] == appliance.client().get(PAST).text.replace(SERVER, "@@SERVER@@")
