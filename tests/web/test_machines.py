"""What a machine meets over HTTP on its way through an install."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.actions.arm import expire
from tests.web.appliance import IP, MAC, OTHER_IP, OTHER_MAC, SERVER, Appliance, make_appliance

BOOT = f"/boot.ipxe?mac={MAC}&uuid=&serial=&arch=bios"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path):
        made.add("node-1", MAC, IP)
        made.add("node-2", OTHER_MAC, OTHER_IP, role="worker")
        yield made


def test_the_way_through(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    script = client.get(BOOT)
    assert script.text == (
        f"#!ipxe\nkernel http://{SERVER}:8081/k cloud-config-url=http://{SERVER}/b/{token}/pxe.yml\nboot\n"
    )
    assert script.headers["content-type"].startswith("text/plain")
    assert client.get(f"/b/{token}/pxe.yml").text == f"#cloud-config\n# http://{SERVER}/b/{token}/install.sh\n"
    assert appliance.machine("node-1").state == "armed"
    assert client.get(f"/b/{token}/install.sh").status_code == 200
    assert appliance.machine("node-1").state == "installing"
    assert appliance.machine_token("node-1") in client.get(f"/b/{token}/config.yml").text
    assert client.get(f"/b/{token}/peers/worker").text == "10.12.1.18\n"
    for phase, percent in (("clock", None), ("disk", None), ("image", 40), ("image", 41)):
        said = {"phase": phase, "percent": percent, "message": ""}
        assert client.post(f"/b/{token}/progress", json=said).status_code == 200
    install = appliance.machine("node-1").install
    assert install and (install.phase, install.percent, install.attempts) == ("image", 41, 1)
    assert client.post(f"/b/{token}/log", content=b"line one\n\xff\0").status_code == 200
    assert client.post(f"/b/{token}/complete", json={}).status_code == 200
    assert appliance.machine("node-1").state == "installed"
    assert "sanboot" in client.get(BOOT).text
    assert client.post(f"/m/{appliance.machine_token('node-1')}/active").status_code == 200
    assert appliance.machine("node-1").state == "active"
    told = [event.message for event in appliance.events("node-1")]
    assert told[-4:] == [
        "began phase image",
        "uploaded its install log (15 bytes)",
        "reported the install complete",
        "the installed system reported in",
    ]
    assert client.post(f"/m/{appliance.machine_token('node-1')}/active").status_code == 200
    assert appliance.events("node-1")[-1].message == "the installed system reported in again: it booted"
    assert "armed → installing: install script handed out, attempt 1 of 3" in told
    asked = [event for event in appliance.seen.events if event.kind == "script.served"]
    assert asked[0].message.startswith("asked for its boot script; gets install because armed for role simple")
    assert asked[0].phase == "loader"
    assert all(token not in str(event) for event in appliance.seen.events)


def test_snapshot_that_trails_does_not_refuse_the_next_step(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    appliance.snapshot.hold()
    client.get(BOOT)
    client.get(f"/b/{token}/install.sh")
    assert client.post(f"/b/{token}/progress", json={"phase": "clock"}).status_code == 200
    assert client.post(f"/b/{token}/complete").status_code == 200
    assert client.get(f"/b/{token}/config.yml").status_code == 403
    assert "sanboot" in client.get(BOOT).text


def test_a_retry_within_one_boot_is_no_attempt(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    for _ in range(3):
        client.get(f"/b/{token}/install.sh")
    install = appliance.machine("node-1").install
    assert install and install.attempts == 1


def test_another_publishers_installer_begins_its_attempt_with_its_answers(appliance: Appliance) -> None:
    appliance.add("node-3", "52:54:00:12:34:93", "10.12.1.93", role="debian")
    appliance.arm("node-3")
    token, client = appliance.token("node-3"), appliance.client("10.12.1.93")
    handed_out = 0
    for _ in range(5):
        if "cloud-config-url" in client.get("/boot.ipxe?mac=52:54:00:12:34:93").text:
            answers = [client.get(f"/b/{token}/preseed.cfg") for _ in range(2)]
            assert answers[0].text == answers[1].text == f"# http://{SERVER}/b/{token}/complete\n"
            handed_out += 1
    assert handed_out == 3
    assert appliance.machine("node-3").state == "failed"
    appliance.arm("node-3")
    token = appliance.token("node-3")
    client.get("/boot.ipxe?mac=52:54:00:12:34:93")
    client.get(f"/b/{token}/preseed.cfg")
    assert client.post(f"/b/{token}/complete").status_code == 200
    assert appliance.machine("node-3").state == "installed"


def test_talos_which_reports_nothing_is_installed_once_it_has_its_configuration(appliance: Appliance) -> None:
    appliance.add("node-3", "52:54:00:12:34:93", "10.12.1.93", role="talos")
    appliance.arm("node-3")
    token, client = appliance.token("node-3"), appliance.client("10.12.1.93")
    assert "cloud-config-url" in client.get("/boot.ipxe?mac=52:54:00:12:34:93").text
    assert client.get(f"/b/{token}/talos.yaml").status_code == 200
    assert client.get(f"/b/{token}/talos.yaml").status_code == 200, "the first answer may have been lost"
    assert appliance.client(IP).get(f"/b/{token}/talos.yaml").status_code == 403
    appliance.client(IP).get("/boot.ipxe?mac=52:54:00:12:34:93")
    assert appliance.machine("node-3").state == "installing", "another machine cannot end its install"
    assert "sanboot" in client.get("/boot.ipxe?mac=52:54:00:12:34:93").text
    assert appliance.machine("node-3").state == "installed"
    assert "it has its configuration, and its installer reports nothing" in appliance.events("node-3")[-1].message
    assert client.get(f"/b/{token}/talos.yaml").status_code == 403


def test_talos_that_boots_its_disk_first_is_no_failure_either(appliance: Appliance) -> None:
    appliance.add("node-3", "52:54:00:12:34:93", "10.12.1.93", role="talos")
    machine = appliance.arm("node-3")
    client = appliance.client("10.12.1.93")
    client.get("/boot.ipxe?mac=52:54:00:12:34:93")
    client.get(f"/b/{appliance.token('node-3')}/talos.yaml")
    appliance.clock.advance(1801)
    (late,) = expire(appliance.store, [machine.id], now=appliance.clock())
    assert (late.state, late.install and late.install.outcome) == ("installed", "complete")


FIRST_CONFIG = f"/boot/pxe.yml?mac={MAC.replace('-', ':')}&uuid=&serial=&arch=uefi-x64"
"""What a live system asks for that GRUB started: GRUB's config holds no token."""


def test_a_boot_by_grub_is_counted_when_its_live_system_asks_by_its_address(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    for attempt in (1, 2):
        assert client.get(FIRST_CONFIG).text == f"#cloud-config\n# http://{SERVER}/b/{token}/install.sh\n"
        assert client.get(f"/b/{token}/install.sh").status_code == 200
        install = appliance.machine("node-1").install
        assert install and (install.boots, install.attempts) == (attempt, attempt)
    asked = [event for event in appliance.seen.events if event.kind == "script.served"]
    assert asked[0].message.startswith("asked for its pxe.yml; gets install because armed")
    assert asked[0].phase == "config"


@pytest.mark.rule("threat-09")
def test_a_first_config_is_for_the_armed_machine_at_its_address_only(appliance: Appliance) -> None:
    client = appliance.client()
    refused = client.get(FIRST_CONFIG)
    assert (refused.status_code, refused.text.split(";")[0]) == (
        403,
        "asked for pxe.yml, but ready: boots its own disk",
    )
    appliance.arm("node-1")
    elsewhere = appliance.client(OTHER_IP).get(FIRST_CONFIG)
    assert elsewhere.status_code == 403
    assert appliance.token("node-1") not in elsewhere.text
    assert client.get("/boot/config.yml?mac=" + MAC).status_code == 404
    install = appliance.machine("node-1").install
    assert install and install.boots == 0


@pytest.mark.rule("fault-13")
def test_with_every_callback_lost_it_installs_three_times_then_boots_its_disk(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    handed_out = 0
    for _ in range(6):
        if "cloud-config-url" in client.get(BOOT).text:
            handed_out += client.get(f"/b/{token}/install.sh").status_code == 200
    assert handed_out == 3
    machine = appliance.machine("node-1")
    assert (machine.state, machine.install and machine.install.outcome) == ("failed", "failed")
    assert "all 3 attempts were used without a complete report" in appliance.events("node-1")[-1].message
    assert "sanboot" in client.get(BOOT).text
    # It had succeeded all the same: its disk's system says so.
    assert client.post(f"/m/{appliance.machine_token('node-1')}/active").status_code == 200
    assert appliance.machine("node-1").state == "active"


def test_an_armed_machine_past_its_deadline_boots_its_disk(appliance: Appliance) -> None:
    appliance.arm("node-1", hours=1)
    appliance.clock.advance(3601)
    assert "sanboot" in appliance.client().get(BOOT).text
    assert appliance.machine("node-1").state == "ready"
    assert "not booted before the deadline" in appliance.events("node-1")[-1].message


def test_complete_asks_the_bmc_to_boot_the_disk_once(appliance: Appliance) -> None:
    from provisioner.actions import bmcs

    bmcs.add_bmc(appliance.store, {"address": "10.12.9.1", "user": "u", "password": "p"}, actor="test", now=1)
    appliance.add("node-3", "52:54:00:12:00:13", "10.12.1.19", bmc="10.12.9.1")
    machine = appliance.arm("node-3")
    token, client = appliance.token("node-3"), appliance.client("10.12.1.19")
    client.get("/boot.ipxe?mac=52:54:00:12:00:13")
    client.get(f"/b/{token}/install.sh")
    for _ in range(3):
        assert client.post(f"/b/{token}/complete").status_code == 200
    with appliance.store.reading() as tx:
        jobs = tx.jobs.list()
    assert [(job.kind, dict(job.args)) for job in jobs] == [
        ("boot-device", {"machines": [str(machine.id)], "device": "disk"})
    ]


def test_failure_says_phase_and_reason(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    client.get(f"/b/{token}/install.sh")
    said = {"phase": "disk", "reason": "sda has foreign data (ext4)"}
    assert client.post(f"/b/{token}/failed", json=said).status_code == 200
    assert client.post(f"/b/{token}/log", content=b"the end").status_code == 200
    machine = appliance.machine("node-1")
    assert (machine.state, machine.state_reason) == ("failed", "in phase disk: sda has foreign data (ext4)")
    assert appliance.events("node-1")[-1].data == {"text": "the end"}


def test_of_a_long_log_the_end_is_kept(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    client.get(f"/b/{token}/install.sh")
    log = b"".join(b"%08d\n" % number for number in range(100_000))
    assert client.post(f"/b/{token}/log", content=log).status_code == 200
    text = appliance.events("node-1")[-1].data["text"]
    assert len(text) == 256 * 1024
    assert text.endswith("00099999\n")


def test_heartbeats_move_the_train_and_leave_the_timeline_readable(appliance: Appliance) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    client.get(f"/b/{token}/install.sh")
    for message, percent in (
        ("writing flatcar 1.2", 0),
        ("40 MiB written", 5),
        ("80 MiB written", None),
        ("done", 100),
    ):
        client.post(f"/b/{token}/progress", json={"phase": "image", "message": message, "percent": percent})
    told = [event.message for event in appliance.events("node-1") if event.kind == "report.progress"]
    assert told == ["writing flatcar 1.2", "40 MiB written", "done"]
    with appliance.store.reading() as tx:
        install = tx.machines.get("node-1").install
        assert install
        reached = {record.phase.value: record for record in tx.machines.phases(install.id)}
    assert (reached["image"].percent, reached["image"].message) == (100, "done")


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b'{"phase": "warp"}', 400, "phase 'warp' is no phase; one of firmware, loader"),
        (b'{"phase": "disk", "percent": 101}', 400, "percent '101' is no percentage"),
        (b'{"phase": "disk", "percent": true}', 400, "percent 'True' is no percentage"),
        (b'{"message": {}}', 400, "message '{}' is not text"),
        (b"[1]", 400, "is no JSON object"),
        (b"{", 400, "is not JSON"),
        (b"[" * 60_000, 400, "is not JSON"),
        (b" " * 70_000, 413, "longer than 65536 bytes"),
    ],
)
def test_reports_that_are_not_understood(appliance: Appliance, content: bytes, status: int, said: str) -> None:
    appliance.arm("node-1")
    token, client = appliance.token("node-1"), appliance.client()
    client.get(BOOT)
    client.get(f"/b/{token}/install.sh")
    answer = client.post(f"/b/{token}/progress", content=content)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def test_yoo_installers_urls(appliance: Appliance) -> None:
    appliance.arm("node-1")
    client = appliance.client()
    client.get(BOOT)
    assert client.get("/config/simple/pxe.yml").text.startswith("#cloud-config")
    assert client.get("/config/simple/pxe.sh").text.startswith("#!/bin/bash")
    assert client.get("/config/simple/config.yml").status_code == 200
    assert client.get("/utils/networking").text == "[Match]\n"
    assert client.get("/config/worker/config.yml").status_code == 403
    assert appliance.client("10.12.1.99").get("/config/simple/pxe.yml").status_code == 403
    assert client.get("/notify/finish").status_code == 200
    assert appliance.machine("node-1").state == "installed"


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("mac=52:54:00:99:99:99", 200, "unknown MAC"),
        ("mac=nonsense", 400, "is not a MAC address"),
        ("", 400, "is missing"),
    ],
)
def test_strangers_read_why(appliance: Appliance, query: str, status: int, said: str) -> None:
    answer = appliance.client("10.12.1.99").get(f"/boot.ipxe?{query}")
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


@pytest.mark.rule("dhcp-33")
def test_loaders_by_head_and_get(appliance: Appliance) -> None:
    client = appliance.client()
    head, got = client.head("/loaders/snponly.efi"), client.get("/loaders/snponly.efi")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "5002", b"")
    assert (got.status_code, got.headers["content-length"], len(got.content)) == (200, "5002", 5002)
    assert all(value for value in got.headers.values())


@pytest.mark.rule("threat-09")
@pytest.mark.parametrize(
    "name", ["..%2fsecret.txt", "link.efi", "..", ".", "%00", "nothing.efi", "%2e%2e%2fsecret.txt"]
)
def test_no_spelling_leaves_the_loaders(appliance: Appliance, name: str) -> None:
    answer = appliance.client().get(f"/loaders/{name}")
    assert answer.status_code == 404
    assert "outside" not in answer.text
