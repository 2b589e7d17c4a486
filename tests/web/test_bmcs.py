"""BMCs over the API: scans, logins of networks, and what contradicts the vendor's list."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from provisioner.actions import bmc_jobs, enrol
from provisioner.actions.bmcs import add_bmc
from provisioner.actions.harvest import merge
from provisioner.domain.bmc import (
    Bmc,
    BootDevice,
    Condition,
    Drive,
    Health,
    Identity,
    Login,
    Power,
    Presence,
    Reading,
    Sweep,
)
from provisioner.domain.mac import Mac
from tests.web.appliance import Appliance
from tests.web.test_api import API, problem

FIRST, SECOND = "52:54:00:12:00:01", "52:54:00:12:00:02"


class Port:
    """One BMC at 10.12.200.5 that tells ``mac``."""

    mac = FIRST
    boot: BootDevice | None = None

    def scan(self, addresses: Sequence[str]) -> Sweep:
        return Sweep((Presence("10.12.200.5", ("ipmi",), "Supermicro"),))

    def identify(self, bmc: Bmc, login: Login) -> Identity:
        return Identity(macs=(Mac.parse(self.mac),))

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        return Power.ON

    def condition(self, bmc: Bmc, login: Login) -> Condition:
        return Condition(Health.WARNING, (Reading("Inlet", 41.5, "°C", Health.WARNING, "hot"),))

    def set_boot_device(
        self, bmc: Bmc, login: Login, device: BootDevice, *, persistent: bool = False, uefi: bool = False
    ) -> None:
        self.boot = device

    def drives(self, bmc: Bmc, login: Login, image: str | None = None) -> Sequence[Drive]:
        return [Drive("Cd", ("CD", "DVD"), image or "")]


def work(appliance: Appliance, port: Any) -> None:
    while bmc_jobs.work(appliance.store, port, appliance.clock):
        appliance.clock.advance(1)


def harvested(appliance: Appliance, name: str, mac: str, address: str, ip: str) -> None:
    """A machine that its BMC told of, ready to be armed."""
    bmc = add_bmc(appliance.store, {"address": address}, actor="test", now=appliance.clock())
    with appliance.store.transaction("test") as tx:
        machine, _ = merge(tx, bmc, Identity(macs=(Mac.parse(mac),)), appliance.clock())
    assert machine
    fields = {"name": name, "ip": ip, "role": "simple"}
    enrol.change_machine(appliance.store, str(machine.id), fields, actor="test", now=appliance.clock())


def vendor(**macs_and_bmcs: tuple[str, str]) -> dict[str, Any]:
    return {"rows": [{"name": name, "mac": mac, "bmc": bmc} for name, (mac, bmc) in macs_and_bmcs.items()]}


def test_a_scan_is_a_job_that_lists_what_it_found(appliance: Appliance, api: TestClient) -> None:
    wish = {"range": "10.12.200.0/24", "add": True, "user": "admin", "password": "hunter2"}
    asked = api.post(f"{API}/bmcs/scan", json=wish)
    assert asked.status_code == 202
    work(appliance, Port())
    job = api.get(asked.headers["location"])
    assert "hunter2" not in job.text + asked.text
    assert (job.json()["state"], job.json()["done"], job.json()["total"]) == ("done", 254, 254)
    assert job.json()["result"]["10.12.200.5"]["listed"] == "listed"
    assert [bmc["address"] for bmc in api.get(f"{API}/bmcs").json()["items"]] == ["10.12.200.5"]
    assert api.get(f"{API}/bmcs/logins").json() == [{"prefix": "10.12.200.0/24", "user": "admin", "position": 1}]
    assert problem(api.post(f"{API}/bmcs/scan", json={"range": "127.0.0.0/24"}), 422)["field"] == "range"


def test_logins_of_networks_go_in_and_their_passwords_never_come_out(api: TestClient) -> None:
    login = {"prefix": "10.12.200.0/24", "user": "admin", "password": "hunter2"}
    made = api.post(f"{API}/bmcs/logins", json=login)
    assert (made.status_code, made.json()) == (201, {"prefix": "10.12.200.0/24", "user": "admin", "position": 1})
    assert "hunter2" not in api.get(f"{API}/bmcs/logins").text
    where = f"{API}/bmcs/logins?prefix=10.12.200.0/24&user=admin"
    assert api.delete(where).status_code == 204
    assert api.get(f"{API}/bmcs/logins").json() == []
    problem(api.delete(where), 404)


def test_a_machine_that_contradicts_the_vendors_list_is_not_armed_until_it_agrees(
    appliance: Appliance, api: TestClient
) -> None:
    harvested(appliance, "n1", FIRST, "10.12.200.5", "10.12.1.11")
    harvested(appliance, "n2", SECOND, "10.12.200.6", "10.12.1.12")
    swapped = vendor(n1=(SECOND, "10.12.200.5"), n2=(FIRST, "10.12.200.6"))
    assert [f["kind"] for f in api.post(f"{API}/bmcs/reconcile", json=swapped).json()] == ["swap"]
    for name in ("n1", "n2"):
        refused = problem(api.post(f"{API}/machines/{name}/arm"), 409)
        assert "n1 behind BMC 10.12.200.5, n2 behind BMC 10.12.200.6" in refused["detail"]
        assert "the BMCs tell the MACs the other way round" in refused["detail"]
        assert "exchange the BMC addresses of n1 and n2" in refused["remedy"]
        problem(api.post(f"{API}/machines/{name}/install"), 409)
    assert {c["kind"] for c in api.get(f"{API}/bmcs/contradictions").json()} == {"swap"}
    right = vendor(n1=(FIRST, "10.12.200.5"), n2=(SECOND, "10.12.200.6"))
    assert api.post(f"{API}/bmcs/reconcile", json=right).json() == []
    assert api.post(f"{API}/machines/n1/arm").status_code == 200


def test_an_armed_machine_that_turns_out_to_contradict_is_disarmed(appliance: Appliance, api: TestClient) -> None:
    harvested(appliance, "n1", FIRST, "10.12.200.5", "10.12.1.11")
    api.post(f"{API}/machines/n1/arm")
    (typo,) = api.post(f"{API}/bmcs/reconcile", json=vendor(n1=("52:54:00:12:00:07", "10.12.200.5"))).json()
    assert (typo["kind"], typo["listed"]) == ("typo", "MAC 52:54:00:12:00:07")
    assert api.get(f"{API}/machines/n1").json()["state"] == "ready"
    told = [event.message for event in appliance.events("n1")]
    assert any(f"the list says MAC 52:54:00:12:00:07, but BMC 10.12.200.5 tells {FIRST}" in said for said in told)


def test_a_harvest_compares_the_last_list_again(appliance: Appliance, api: TestClient) -> None:
    """The board behind the BMC was exchanged after the list was right."""
    api.post(f"{API}/bmcs", json={"address": "10.12.200.5", "user": "u", "password": "p"})
    api.post(f"{API}/bmcs/harvest", json={})
    work(appliance, Port())
    listed = vendor(n1=(SECOND, "10.12.200.5"))
    problem(api.post(f"{API}/bmcs/reconcile", json={}), 409)
    assert [f["kind"] for f in api.post(f"{API}/bmcs/reconcile", json=listed).json()] == ["typo"]
    port = Port()
    port.mac = SECOND
    api.post(f"{API}/bmcs/harvest", json={})
    work(appliance, port)
    assert api.get(f"{API}/bmcs/contradictions").json() == []


@pytest.mark.parametrize("rows", [[{"name": "n1", "mac": "x"}], [{"name": "N 1", "mac": FIRST}]])
def test_unreadable_rows_are_refused_by_their_line(api: TestClient, rows: list[dict[str, str]]) -> None:
    assert "line 1: " in problem(api.post(f"{API}/bmcs/reconcile", json={"rows": rows}), 409)["detail"]


def test_health_boot_device_and_virtual_media_are_jobs(appliance: Appliance, api: TestClient) -> None:
    harvested(appliance, "n1", FIRST, "10.12.200.5", "10.12.1.11")
    api.patch(f"{API}/bmcs/10.12.200.5", json={"user": "admin", "password": "hunter2"})
    port = Port()

    def done(path: str, wish: dict[str, Any]) -> dict[str, Any]:
        asked = api.post(f"{API}{path}", json=wish)
        assert asked.status_code == 202, asked.text
        work(appliance, port)
        job = api.get(asked.headers["location"]).json()
        assert job["state"] == "done"
        (result,) = job["result"].values()
        return dict(result)

    condition = done("/bmcs/condition", {"bmcs": ["n1"]})
    assert (condition["power"], condition["health"]) == ("on", "warning")
    hot = {"name": "Inlet", "value": 41.5, "unit": "°C", "health": "warning", "state": "hot"}
    assert condition["readings"] == [hot]
    assert done("/machines/n1/boot", {"device": "setup"})["said"].endswith("boot device set to setup, once")
    inserted = done("/machines/n1/media", {"image": "http://10.12.1.2:8081/payload/r.iso", "boot": True})
    assert inserted["drives"] == [
        {"name": "Cd", "kinds": ["CD", "DVD"], "image": "http://10.12.1.2:8081/payload/r.iso"}
    ]
    assert port.boot is BootDevice.CD
    assert done("/machines/n1/media", {})["drives"][0]["image"] == ""
    refused = problem(api.post(f"{API}/machines/n1/media", json={"image": "no-such.iso"}), 404)
    assert "payload add FILE --path no-such.iso" in refused["remedy"]
    assert problem(api.post(f"{API}/machines/n1/boot", json={"device": "tape"}), 422)["field"] == "device"
