"""Who gets an install's files and whose reports count: token, place and time must agree."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.web.appliance import HOUR, IP, MAC, OTHER_IP, OTHER_MAC, Appliance, make_appliance

PARTS = ("pxe.yml", "install.sh", "config.yml", "network", "peers/worker")


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path):
        made.add("node-1", MAC, IP)
        made.add("node-2", OTHER_MAC, OTHER_IP, role="worker")
        yield made


def secret_free(appliance: Appliance, *texts: str) -> None:
    """Neither what a refused one reads nor what the timeline keeps holds a secret."""
    shown = [*texts, *(str(event) for event in appliance.seen.events)]
    for name in ("node-1", "node-2"):
        if appliance.machine(name).install is not None:
            for secret in (appliance.token(name), appliance.machine_token(name)):
                assert not any(secret in text for text in shown)


@pytest.mark.rule("threat-01")
def test_another_address_reads_nothing(appliance: Appliance) -> None:
    machine = appliance.arm("node-1")
    for part in PARTS:
        answer = appliance.client(OTHER_IP).get(f"/b/{appliance.token('node-1')}/{part}")
        assert answer.status_code == 403, part
        assert f"asked from {OTHER_IP}, but node-1 has {IP}" in answer.text
        assert appliance.refusals()[-1].machine_id == machine.id
        secret_free(appliance, answer.text)
    assert len(appliance.refusals()) == len(PARTS)
    assert appliance.machine("node-1").state == "armed"


@pytest.mark.rule("threat-01")
@pytest.mark.rule("threat-02")
def test_another_mac_at_the_address_reads_nothing(appliance: Appliance) -> None:
    appliance.arm("node-1")
    appliance.neighbours[IP] = "52:54:00:66:66:66"
    urls = [f"/b/{appliance.token('node-1')}/{part}" for part in PARTS]
    urls += ["/config/simple/pxe.yml", "/config/simple/pxe.sh", "/config/simple/config.yml", "/utils/networking"]
    for url in urls:
        answer = appliance.client().get(url)
        assert (answer.status_code, "is held by 52:54:00:66:66:66" in answer.text) == (403, True), url
    assert len(appliance.refusals()) == len(urls)


@pytest.mark.rule("threat-01")
def test_the_right_mac_at_the_address_reads(appliance: Appliance) -> None:
    appliance.arm("node-1")
    appliance.neighbours[IP] = MAC
    assert appliance.client().get(f"/b/{appliance.token('node-1')}/config.yml").status_code == 200


@pytest.mark.rule("threat-01")
def test_nothing_before_arming_after_disarm_after_the_deadline_and_after_complete(appliance: Appliance) -> None:
    from provisioner.actions import arm

    client = appliance.client()
    assert client.get("/config/simple/config.yml").status_code == 403
    assert client.get("/b/guess/config.yml").status_code == 403

    appliance.arm("node-1")
    token = appliance.token("node-1")
    arm.disarm(appliance.store, "node-1", actor="test", now=appliance.clock())
    assert client.get(f"/b/{token}/config.yml").status_code == 403

    appliance.arm("node-1", hours=1)
    token = appliance.token("node-1")
    assert client.get(f"/b/{token}/config.yml").status_code == 200
    appliance.clock.now += HOUR + 1
    assert client.get(f"/b/{token}/config.yml").status_code == 403

    appliance.arm("node-1")
    fresh = appliance.token("node-1")
    assert client.get(f"/b/{token}/config.yml").status_code == 403
    client.get(f"/boot.ipxe?mac={MAC}")
    client.get(f"/b/{fresh}/install.sh")
    for _ in range(3):  # honest retries from the bound address
        assert client.get(f"/b/{fresh}/config.yml").status_code == 200
    client.post(f"/b/{fresh}/complete")
    assert client.get(f"/b/{fresh}/config.yml").status_code == 403
    assert client.get("/config/simple/config.yml").status_code == 403
    assert len(appliance.refusals()) == 7
    secret_free(appliance)


@pytest.mark.rule("threat-02")
def test_a_spoofed_mac_gets_no_token(appliance: Appliance) -> None:
    appliance.arm("node-1")
    answer = appliance.client("10.12.1.66").get(f"/boot.ipxe?mac={MAC}")
    assert answer.status_code == 403
    assert len(appliance.refusals()) == 1
    secret_free(appliance, answer.text)
    appliance.neighbours[IP] = "52:54:00:66:66:66"
    assert appliance.client().get(f"/boot.ipxe?mac={MAC}").status_code == 403
    install = appliance.machine("node-1").install
    assert install and install.boots == 0


@pytest.mark.rule("threat-03")
@pytest.mark.rule("fault-12")
@pytest.mark.parametrize("thief", ["other address", "other machine's token", "guess", "machine token", "old token"])
def test_forged_reports_change_nothing(appliance: Appliance, thief: str) -> None:
    appliance.arm("node-1")
    old = appliance.token("node-1")
    for name, ip, mac in (("node-1", IP, MAC), ("node-2", OTHER_IP, OTHER_MAC)):
        appliance.arm(name)
        appliance.client(ip).get(f"/boot.ipxe?mac={mac}")
        assert appliance.client(ip).get(f"/b/{appliance.token(name)}/install.sh").status_code == 200
    token, ip = {
        "other address": (appliance.token("node-1"), OTHER_IP),
        "other machine's token": (appliance.token("node-2"), IP),
        "guess": ("A" * 43, IP),
        "machine token": (appliance.machine_token("node-1"), IP),
        "old token": (old, IP),
    }[thief]
    before = [appliance.machine(name) for name in ("node-1", "node-2")]
    stored = len(appliance.events("node-1"))
    reports = ("progress", "log", "complete", "failed")
    for report in reports:
        answer = appliance.client(ip).post(f"/b/{token}/{report}", json={"phase": "disk", "reason": "x"})
        assert answer.status_code == 403, report
        secret_free(appliance, answer.text)
    assert [appliance.machine(name) for name in ("node-1", "node-2")] == before
    assert len(appliance.refusals()) == len(reports)
    assert len(appliance.events("node-1")) == stored


@pytest.mark.rule("threat-03")
def test_a_look_at_the_boot_script_from_elsewhere_fails_no_install_that_runs(appliance: Appliance) -> None:
    appliance.arm("node-1")
    for _ in range(3):
        appliance.client().get(f"/boot.ipxe?mac={MAC}")
        appliance.client().get(f"/b/{appliance.token('node-1')}/install.sh")
    # Somebody who wants to see what it gets, or wishes it ill; at its address but with another card, too.
    assert "sanboot" in appliance.client(OTHER_IP).get(f"/boot.ipxe?mac={MAC}").text
    appliance.neighbours[IP] = "52:54:00:66:66:66"
    assert "sanboot" in appliance.client().get(f"/boot.ipxe?mac={MAC}").text
    del appliance.neighbours[IP]
    assert appliance.machine("node-1").state == "installing"
    assert appliance.client().post(f"/b/{appliance.token('node-1')}/complete").status_code == 200
    assert appliance.machine("node-1").state == "installed"


@pytest.mark.rule("threat-03")
@pytest.mark.rule("fault-12")
def test_a_replayed_complete_of_the_last_install_does_not_end_this_one(appliance: Appliance) -> None:
    client = appliance.client()
    appliance.arm("node-1")
    old = appliance.token("node-1")
    client.get(f"/boot.ipxe?mac={MAC}")
    client.get(f"/b/{old}/install.sh")
    assert client.post(f"/b/{old}/complete").status_code == 200
    assert client.post(f"/b/{old}/complete").status_code == 200
    assert client.post(f"/b/{old}/failed", json={"reason": "x"}).status_code == 403
    appliance.arm("node-1")
    client.get(f"/boot.ipxe?mac={MAC}")
    client.get(f"/b/{appliance.token('node-1')}/install.sh")
    assert client.post(f"/b/{old}/complete").status_code == 403
    assert appliance.machine("node-1").state == "installing"


@pytest.mark.rule("threat-03")
def test_no_report_before_the_install_script_was_handed_out(appliance: Appliance) -> None:
    appliance.arm("node-1")
    answer = appliance.client().post(f"/b/{appliance.token('node-1')}/complete")
    assert (answer.status_code, "install script was not handed out" in answer.text) == (403, True)
    assert appliance.client().get("/notify/finish").status_code == 403
    assert appliance.machine("node-1").state == "armed"


@pytest.mark.rule("threat-03")
def test_active_wants_the_machine_token_from_its_place(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, machine_token = appliance.token("node-1"), appliance.machine_token("node-1")
    client = appliance.client()
    client.get(f"/boot.ipxe?mac={MAC}")
    client.get(f"/b/{token}/install.sh")
    client.post(f"/b/{token}/complete")
    assert client.post(f"/m/{token}/active").status_code == 403
    assert appliance.client(OTHER_IP).post(f"/m/{machine_token}/active").status_code == 403
    assert appliance.machine("node-1").state == "installed"
    for _ in range(2):
        assert client.post(f"/m/{machine_token}/active").status_code == 200
    assert appliance.machine("node-1").state == "active"


@pytest.mark.rule("threat-03")
def test_after_release_the_old_system_does_not_report_in(appliance: Appliance) -> None:
    from provisioner.actions import arm

    appliance.arm("node-1")
    token, machine_token = appliance.token("node-1"), appliance.machine_token("node-1")
    client = appliance.client()
    client.get(f"/boot.ipxe?mac={MAC}")
    client.get(f"/b/{token}/install.sh")
    client.post(f"/b/{token}/complete")
    arm.release(appliance.store, "node-1", actor="test", now=appliance.clock())
    assert client.post(f"/m/{machine_token}/active").status_code == 403
    assert appliance.machine("node-1").state == "ready"


def told_by_its_bmc(appliance: Appliance, name: str, uuid: UUID) -> None:
    with appliance.store.transaction("bmc") as tx:
        tx.machines.put(replace(tx.machines.get(name), uuid=uuid))


@pytest.mark.rule("threat-02")
def test_a_board_that_is_another_machine_is_quarantined_before_anything_is_handed_out(appliance: Appliance) -> None:
    uuids = {name: uuid4() for name in ("node-1", "node-2")}
    for name, uuid in uuids.items():
        told_by_its_bmc(appliance, name, uuid)
    appliance.arm("node-1")
    swapped = appliance.client().get(f"/boot.ipxe?mac={MAC}&uuid={uuids['node-2']}&serial=")
    assert "swapped" in swapped.text
    secret_free(appliance, swapped.text)
    machine = appliance.machine("node-1")
    assert machine.state == "quarantined"
    assert "but the UUID" in machine.state_reason
    assert appliance.events("node-1")[-1].message.startswith("armed → quarantined: booted with the MAC of node-1")
    assert appliance.client().get(f"/b/{appliance.token('node-1')}/config.yml").status_code == 403


def test_a_stranger_elsewhere_cannot_quarantine_a_machine(appliance: Appliance) -> None:
    told_by_its_bmc(appliance, "node-2", uuid := uuid4())
    appliance.arm("node-1")
    assert appliance.client("10.12.1.66").get(f"/boot.ipxe?mac={MAC}&uuid={uuid}").status_code == 403
    assert appliance.machine("node-1").state == "armed"
