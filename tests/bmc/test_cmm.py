"""One chassis address gives all its blades, over real TLS, into the inventory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.actions import allocate, bmc_jobs, power, subnets
from provisioner.actions.bmcs import add_bmc
from provisioner.bmc.cmm import read_blade
from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Bmc, Chassis, Identity, Login, Power
from provisioner.domain.errors import BmcError
from provisioner.domain.mac import Mac
from tests.actions.opening import NOW, open_store
from tests.bmc.https_bmc import LOGIN, HttpsBmc, microblade, served

WHO = {"actor": "test", "now": NOW}
BLADES = {
    0: {"BMCIP": "10.12.202.1", "mac1": "52:54:00:00:01:01", "mac2": "52:54:00:00:01:02"},
    1: {"BMCIP": "10.12.202.2", "mac1": "525400000201", "mac2": "00:00:00:00:00:00"},
    2: {"BMCIP": "0.0.0.0", "mac1": "", "mac2": ""},
    27: {"BMCIP": "10.12.202.28", "mac1": "52:54:00:00:1c:01", "mac2": "52:54:00:00:1c:01"},
}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=2, allow_loopback=True, between=0)
    yield made
    made.close()


@pytest.mark.system
def test_all_blades_in_one_call(pool: WorkerPool, tmp_path: Path) -> None:
    with served(HttpsBmc(microblade(BLADES)), tmp_path) as manager:
        told = pool.chassis(manager.bmc("cmm"), LOGIN)
    assert [(blade.number, blade.bmc, [str(mac) for mac in blade.macs]) for blade in told.blades] == [
        (1, "10.12.202.1", ["52:54:00:00:01:01", "52:54:00:00:01:02"]),
        (2, "10.12.202.2", ["52:54:00:00:02:01"]),
        (28, "10.12.202.28", ["52:54:00:00:1c:01"]),
    ]
    assert len(told.certificate) == 64
    assert manager.asked[-1] == ("GET", "/cgi/logout.cgi")


@pytest.mark.system
def test_a_wrong_password_and_a_servers_question_are_refused(pool: WorkerPool, tmp_path: Path) -> None:
    with served(HttpsBmc(microblade(BLADES)), tmp_path) as manager:
        with pytest.raises(BmcError, match="refuses the login") as refused:
            pool.chassis(manager.bmc("cmm"), Login("admin", "no-such-secret"))
        assert refused.value.kind == "wrong-password"
        assert [path for _, path in manager.asked] == ["/cgi/login.cgi"]
        certificate = pool.chassis(manager.bmc("cmm"), LOGIN).certificate
        with pytest.raises(BmcError, match="is a chassis manager"):
            pool.power(manager.bmc("cmm", certificate), LOGIN, Power.ON)


@pytest.mark.system
def test_one_that_is_listed_without_its_protocol_is_recognised_before_any_login(
    pool: WorkerPool, tmp_path: Path
) -> None:
    with served(HttpsBmc(microblade(BLADES)), tmp_path) as manager:
        with pytest.raises(BmcError, match="is a chassis manager") as refused:
            pool.identify(manager.bmc("auto"), LOGIN)
        assert "bmc add 127.0.0.1 --protocol cmm" in refused.value.remedy
        assert manager.asked == [("GET", "/redfish/v1/"), ("GET", "/")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"<html></html>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><IPMI><MBInfo BMCIP="&b;"/></IPMI>',
        b'<!--x--><!DOCTYPE x SYSTEM "file:///etc/passwd"><IPMI/>',
    ],
)
def test_what_is_no_blade_list_is_garbage(data: bytes) -> None:
    with pytest.raises(BmcError) as refused:
        read_blade(data, 1, "10.12.0.9")
    assert refused.value.kind == "garbage"


class Port:
    """A chassis as the real pool tells it; everything else is not asked."""

    def __init__(self, chassis: Chassis) -> None:
        self.told = chassis

    def chassis(self, bmc: Bmc, login: Login) -> Chassis:
        assert login == LOGIN
        return self.told

    def identify(self, bmc: Bmc, login: Login) -> Identity:
        raise AssertionError(bmc)

    power = set_boot_device = close = identify  # type: ignore[assignment]


def test_from_one_chassis_address_to_planned_addresses(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    subnets.put_subnet(store, "10.12.1.0/24", {"gateway": "10.12.1.254"}, **WHO)
    blades = tuple(
        read_blade(
            ("<IPMI><MBInfo " + " ".join(f'{k}="{v}"' for k, v in told.items()) + "/></IPMI>").encode(), n + 1, "x"
        )
        for n, told in BLADES.items()
        if told["mac1"]
    )
    hostile = read_blade(b'<IPMI><MBInfo BMCIP="127.0.0.1" mac1="52:54:00:00:09:09"/></IPMI>', 9, "x")
    port = Port(Chassis((*blades, hostile), "ab" * 32))
    fields = {"address": "10.12.0.9", "protocol": "cmm", "chassis": "c1", "user": LOGIN.user}
    manager = add_bmc(store, {**fields, "password": LOGIN.password}, **WHO)
    assert manager.port == 443
    job = bmc_jobs.run(store, port, power.enqueue_harvest(store, **WHO), lambda: NOW)  # type: ignore[arg-type]
    assert job.state == "done"
    assert "blade 9: BMCIP '127.0.0.1' cannot be a BMC's" in next(iter(job.result.values()))["said"]
    machines = sorted(store.inventory().machines.values(), key=lambda m: m.slot.blade or 0)
    assert [(m.slot.chassis, m.slot.blade, m.boot_mac) for m in machines] == [
        ("c1", 1, Mac.parse("52:54:00:00:01:01")),
        ("c1", 2, Mac.parse("52:54:00:00:02:01")),
        ("c1", 28, Mac.parse("52:54:00:00:1c:01")),
    ]
    with store.reading() as tx:
        bmcs = {bmc.address: bmc for bmc in tx.bmcs.list()}
    assert set(bmcs) == {"10.12.0.9", "10.12.202.1", "10.12.202.2", "10.12.202.28"}
    assert bmcs["10.12.0.9"].certificate == "ab" * 32
    assert bmcs["10.12.202.1"].credential_id == manager.credential_id
    # A second harvest changes nothing.
    versions = {m.id: m.version for m in machines}
    again = power.enqueue_harvest(store, ["10.12.0.9"], **WHO)
    bmc_jobs.run(store, port, again, lambda: NOW)  # type: ignore[arg-type]
    assert {m.id: m.version for m in store.inventory().machines.values()} == versions
    plan = allocate.plan(
        store, allocate.read_rule({"prefix": "10.12.1.0/24", "expression": "10.12.1.((b3-202)*28 + b4)"})
    )
    assert [row.ip for row in plan.rows] == ["10.12.1.1", "10.12.1.2", "10.12.1.28"]
