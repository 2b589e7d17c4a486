"""What machines are told to start from: devices, images, and what is refused before a BMC hears of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.actions import bmc_jobs, boot_from, enrol, health
from provisioner.actions.bmcs import add_bmc
from provisioner.domain.bmc import Bmc, BootDevice, Condition, Drive, Health, Login, Power, Reading
from provisioner.domain.errors import BmcError, InvalidValue, NotFound, Refused
from provisioner.domain.records import Job
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}
INLET = Reading("Inlet", 24.0, "°C", Health.OK)
FAN = Reading("Fan 1", 0.0, "RPM", Health.CRITICAL)


class Doors:
    """BMCs with one drive each; the second is silent, the third has a broken fan."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        if bmc.address == "10.9.0.2":
            raise BmcError("unreachable", "BMC 10.9.0.2 does not answer", "check its cable")
        return Power.ON

    def condition(self, bmc: Bmc, login: Login) -> Condition:
        return (
            Condition(Health.CRITICAL, (INLET, FAN))
            if bmc.address == "10.9.0.3"
            else Condition(Health.OK, (INLET,))
        )

    def set_boot_device(
        self, bmc: Bmc, login: Login, device: BootDevice, *, persistent: bool = False, uefi: bool = False
    ) -> None:
        self.told.append((bmc.address, device.value, persistent, uefi))

    def drives(self, bmc: Bmc, login: Login, image: str | None = None) -> Sequence[Drive]:
        self.told.append((bmc.address, image))
        return [Drive("Cd", ("CD",), image or "")]


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    made = open_store(tmp_path)
    for n in range(1, 4):
        add_bmc(made, {"address": f"10.9.0.{n}", "user": "admin", "password": "pw"}, **WHO)
        enrol.add_machine(made, {"name": f"n{n}", "mac": f"52:54:00:00:00:0{n}", "bmc": f"10.9.0.{n}"}, **WHO)
    add_bmc(made, {"address": "10.9.0.9", "protocol": "cmm"}, **WHO)
    enrol.add_machine(made, {"name": "dumb", "mac": "52:54:00:00:00:99"}, **WHO)
    return made


def run(store: SqlStore, doors: Doors, job: Job) -> list[dict[str, Any]]:
    return list(bmc_jobs.run(store, doors, job, lambda: NOW).result.values())  # type: ignore[arg-type]


def test_a_device_is_set_once_or_from_now_on(store: SqlStore) -> None:
    doors = Doors()
    (once,) = run(store, doors, boot_from.enqueue_boot(store, ["n1", "n1"], "setup", **WHO))
    run(store, doors, boot_from.enqueue_boot(store, ["n1"], "disk", always=True, **WHO))
    assert once["said"] == "BMC 10.9.0.1: boot device set to setup, once"
    assert doors.told == [("10.9.0.1", "setup", False, False), ("10.9.0.1", "disk", True, False)]
    with store.reading() as tx:
        newest = tx.events.list(machine_id=tx.machines.get("n1").id, limit=1)[0]
    assert newest.message == "BMC 10.9.0.1: boot device set to disk, from now on"
    with pytest.raises(InvalidValue, match="choose one of network, disk, cd, setup, default"):
        boot_from.enqueue_boot(store, ["n1"], "floppy", **WHO)
    with pytest.raises(Refused, match="machine dumb has no BMC"):
        boot_from.enqueue_boot(store, ["dumb"], "disk", **WHO)


def test_payload_is_an_image_by_its_path_and_the_next_start_is_from_it(store: SqlStore) -> None:
    doors = Doors()
    wish = boot_from.enqueue_media(store, ["n1"], "iso/rescue 1.iso", ["iso/rescue 1.iso"], boot=True, **WHO)
    (done,) = run(store, doors, wish)
    url = "http://@@SERVER@@:8081/payload/iso/rescue%201.iso"
    assert doors.told == [("10.9.0.1", url), ("10.9.0.1", "cd", False, False)]
    assert done["said"] == f"BMC 10.9.0.1: drive Cd (CD) {url}; boots from it once"
    assert done["drives"] == [{"name": "Cd", "kinds": ["CD"], "image": url}]
    (emptied,) = run(store, doors, boot_from.enqueue_media(store, ["n1"], "", [], **WHO))
    (looked,) = run(store, doors, boot_from.enqueue_media(store, ["n1"], None, [], **WHO))
    assert emptied["said"] == looked["said"] == "BMC 10.9.0.1: drive Cd (CD) empty"
    assert doors.told[2:] == [("10.9.0.1", ""), ("10.9.0.1", None)]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("rescue.iso", "payload add FILE --path rescue.iso"),
        ("ftp://10.1.1.1/a.iso", "no HTTP URL"),
        ("http:///a.iso", "no HTTP URL"),
        ("http://[::1/a.iso", "no URL"),
        ("http://10.1.1.1/a b.iso", "write them as %20"),
        ("http://10.1.1.1/" + "a" * 1000, "no HTTP URL"),
    ],
)
def test_what_no_bmc_could_fetch_is_refused(store: SqlStore, image: str, why: str) -> None:
    with pytest.raises((InvalidValue, NotFound), match=why):
        boot_from.enqueue_media(store, ["n1"], image, ["other.iso"], **WHO)


@pytest.mark.rule("threat-04")
def test_an_address_with_a_login_in_it_is_refused_without_saying_it(store: SqlStore) -> None:
    with pytest.raises(InvalidValue, match="carries a login") as refused:
        boot_from.enqueue_media(store, ["n1"], "http://ada:hunter2@10.1.1.1/a.iso", [], **WHO)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(InvalidValue, match="without an image"):
        boot_from.enqueue_media(store, ["n1"], "", [], boot=True, **WHO)


def test_of_one_server_all_is_told_and_of_many_what_stands_out(store: SqlStore) -> None:
    (alone,) = run(store, Doors(), health.enqueue_condition(store, ["n3"], **WHO))
    assert alone["said"] == "power on, health critical, 2 sensors; Fan 1 critical"
    assert [reading["name"] for reading in alone["readings"]] == ["Inlet", "Fan 1"]
    told = sorted(run(store, Doors(), health.enqueue_condition(store, **WHO)), key=lambda each: str(each["name"]))
    # The chassis manager is no server, and is not asked.
    assert [(each["name"], each["ok"], each.get("health")) for each in told] == [
        ("10.9.0.1", True, "ok"),
        ("10.9.0.2", False, None),
        ("10.9.0.3", True, "critical"),
    ]
    assert [[reading["name"] for reading in each.get("readings", ())] for each in told] == [[], [], ["Fan 1"]]
    with pytest.raises(Refused, match="machine dumb has no BMC"):
        health.enqueue_condition(store, ["dumb"], **WHO)
    with pytest.raises(NotFound):
        health.enqueue_condition(store, ["10.9.0.77"], **WHO)
