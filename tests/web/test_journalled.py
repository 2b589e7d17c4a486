"""What a machine says and is handed while the database is away or busy: journalled, in order, and replayed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.actions.replay import replay
from provisioner.domain.lifecycle import failed
from tests.web.appliance import IP, MAC, OTHER_IP, OTHER_MAC, Appliance, make_appliance

BOOT = f"/boot.ipxe?mac={MAC}&uuid=&serial=&arch=bios"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path):
        made.add("node-1", MAC, IP)
        made.add("node-2", OTHER_MAC, OTHER_IP, role="worker")
        yield made


@pytest.mark.rule("fault-13")
def test_attempts_count_while_the_database_is_away_and_after(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    appliance.snapshot.hold()
    appliance.store.away = True
    handed_out = 0
    for _ in range(5):
        if "cloud-config-url" in client.get(BOOT).text:
            handed_out += client.get(f"/b/{token}/install.sh").status_code == 200
    assert handed_out == 3
    appliance.store.away = False
    for entry in [*appliance.seen.entries, *appliance.seen.entries]:
        replay(appliance.store, entry)
    install = appliance.machine("node-1").install
    assert install and (install.attempts, install.outcome) == (3, "failed")


def test_callbacks_are_journalled_and_replayed(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    appliance.snapshot.hold()
    appliance.store.away = True
    client.get(BOOT)
    assert client.get(f"/b/{token}/install.sh").status_code == 200
    assert (
        client.post(f"/b/{token}/progress", json={"phase": "disk", "message": "chose /dev/sda"}).status_code == 202
    )
    assert client.post(f"/b/{token}/complete").status_code == 202
    # What it just said holds at once, though neither database nor snapshot know it.
    assert "sanboot" in client.get(BOOT).text
    appliance.store.away = False
    for entry in appliance.seen.entries:
        replay(appliance.store, entry)
    assert appliance.machine("node-1").state == "installed"
    assert [e.message for e in appliance.events("node-1")][-2:] == [
        "chose /dev/sda",
        "reported the install complete",
    ]


def test_a_journalled_report_of_a_machine_armed_again_becomes_an_event(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    client.get(f"/b/{token}/install.sh")
    appliance.snapshot.hold()
    appliance.store.away = True
    client.post(f"/b/{token}/complete")
    appliance.store.away = False
    with appliance.store.transaction("test") as tx:
        tx.machines.put_progress(failed(tx.machines.get("node-1"), None, "watchdog", appliance.clock()))
    appliance.arm("node-1")
    for entry in appliance.seen.entries:
        replay(appliance.store, entry)
    assert appliance.machine("node-1").state == "armed"
    assert "not applied: complete" in appliance.events("node-1")[-1].message


def test_nothing_is_handed_out_that_cannot_be_counted(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    appliance.snapshot.hold()
    appliance.store.away = appliance.seen.full = True
    assert client.get(f"/b/{token}/install.sh").status_code == 503
    assert client.get(f"/boot.ipxe?mac={OTHER_MAC}").status_code == 200
    assert client.get(f"/b/{token}/config.yml").status_code == 200


@pytest.mark.rule("fault-21")
def test_what_follows_a_journalled_step_does_not_overtake_it(appliance: Appliance) -> None:
    """In a storm the database is busy for a moment: the next report finds it there, the journal not replayed."""
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    appliance.snapshot.hold()
    appliance.store.away = True
    assert client.get(f"/b/{token}/install.sh").status_code == 200
    appliance.store.away = False
    assert client.post(f"/b/{token}/progress", json={"phase": "disk", "message": "chose sda"}).status_code == 202
    for entry in appliance.seen.entries:
        replay(appliance.store, entry)
    appliance.seen.entries.clear()
    assert client.post(f"/b/{token}/complete").status_code == 200
    assert appliance.machine("node-1").state == "installed"
    assert [e.message for e in appliance.events("node-1")][-2:] == ["chose sda", "reported the install complete"]
