"""Redfish over real TLS: every golden tree read right, power and boot carried out, hostile BMCs survived."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Bmc, BootDevice, Login, Power
from provisioner.domain.errors import BmcError
from tests.bmc.https_bmc import LOGIN, Answer, HttpsBmc, Redfish, certificate, served

pytestmark = pytest.mark.system
GOLDEN = Path(__file__).parents[1] / "golden" / "redfish"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=4, allow_loopback=True, between=0)
    yield made
    made.close()


def golden(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return read


@pytest.mark.rule("fault-10")
@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_each_vendors_macs(pool: WorkerPool, tmp_path: Path, name: str) -> None:
    tree = golden(name)
    assert tree["provenance"].startswith(("synthetic: ", "captured-from "))
    service = Redfish(tree["resources"])
    with served(HttpsBmc(service.reply), tmp_path) as bmc:
        found = pool.identify(bmc.bmc(), LOGIN)
    wanted = tree["expected"]
    assert [str(mac) for mac in found.macs] == wanted["macs"]
    for field in ("vendor", "serial"):
        assert getattr(found, field) == wanted.get(field, getattr(found, field))
    assert found.uuid == (UUID(wanted["uuid"]) if "uuid" in wanted else found.uuid)
    assert wanted.get("note", "") in " ".join(found.notes)
    # Sessions are few: none is left open.
    assert service.open == set()
    assert len(found.certificate) == 64


def pinned(pool: WorkerPool, bmc: HttpsBmc) -> Bmc:
    return bmc.bmc(certificate=pool.identify(bmc.bmc(), LOGIN).certificate)


@pytest.mark.parametrize("sessions", [True, False])
def test_power_and_boot_device(pool: WorkerPool, tmp_path: Path, sessions: bool) -> None:
    service = Redfish(golden("dell-idrac9")["resources"], sessions=sessions)
    with served(HttpsBmc(service.reply), tmp_path) as bmc:
        known = pinned(pool, bmc)
        seen = [pool.power(known, LOGIN, op) for op in (Power.STATUS, Power.ON, Power.ON, Power.CYCLE, Power.OFF)]
        with pytest.raises(BmcError, match="off cannot be reset"):
            pool.power(known, LOGIN, Power.RESET)
        pool.set_boot_device(known, LOGIN, BootDevice.NETWORK, uefi=True)
        pool.set_boot_device(known, LOGIN, BootDevice.DISK, persistent=True)
    assert seen == [Power.OFF, Power.ON, Power.ON, Power.ON, Power.OFF]
    assert service.resets == ["On", "ForceOff", "On", "ForceOff"]  # the second "on" changed nothing
    assert [patch["Boot"] for patch in service.patched] == [
        {
            "BootSourceOverrideTarget": "Pxe",
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideMode": "UEFI",
        },
        {
            "BootSourceOverrideTarget": "Hdd",
            "BootSourceOverrideEnabled": "Continuous",
            "BootSourceOverrideMode": "Legacy",
        },
    ]


def test_a_board_without_pxe_boots_by_http(pool: WorkerPool, tmp_path: Path) -> None:
    service = Redfish(golden("dell-idrac9")["resources"])
    service.system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = ["None", "UefiHttp"]
    with served(HttpsBmc(service.reply), tmp_path) as bmc:
        known = pinned(pool, bmc)
        pool.set_boot_device(known, LOGIN, BootDevice.NETWORK, uefi=True)
        with pytest.raises(BmcError, match="cannot boot from disk; it offers None, UefiHttp") as refused:
            pool.set_boot_device(known, LOGIN, BootDevice.DISK)
    assert refused.value.kind == "unsupported"
    assert service.patched[0]["Boot"]["BootSourceOverrideTarget"] == "UefiHttp"


@pytest.mark.rule("threat-05")
def test_another_certificate_gets_no_login(pool: WorkerPool, tmp_path: Path) -> None:
    service = Redfish(golden("dell-idrac9")["resources"])
    with served(HttpsBmc(service.reply), tmp_path, pem=certificate(tmp_path)) as bmc:
        known = pinned(pool, bmc)
    imposter = HttpsBmc(service.reply)
    with (
        served(imposter, tmp_path, pem=certificate(tmp_path), port=known.port),
        pytest.raises(BmcError, match="not the pinned") as refused,
    ):
        pool.power(known, LOGIN, Power.ON)
    assert refused.value.kind == "refused"
    assert imposter.asked == []  # not even the service root: the handshake failed
    assert service.resets == []


def test_nothing_is_switched_before_the_certificate_is_known(pool: WorkerPool, tmp_path: Path) -> None:
    with (
        served(HttpsBmc(Redfish(golden("dell-idrac9")["resources"]).reply), tmp_path) as bmc,
        pytest.raises(BmcError, match=r"bmc harvest 127\.0\.0\.1` pins it"),
    ):
        pool.power(bmc.bmc(), LOGIN, Power.ON)
    assert bmc.asked == []


@pytest.mark.rule("fault-07")
def test_a_wrong_password_is_tried_once(pool: WorkerPool, tmp_path: Path) -> None:
    service = Redfish(golden("dell-idrac9")["resources"])
    with served(HttpsBmc(service.reply), tmp_path) as bmc:
        with pytest.raises(BmcError, match="refuses the login of admin") as refused:
            pool.identify(bmc.bmc(), Login("admin", "no-such-secret"))
        assert refused.value.kind == "wrong-password"
        assert "no-such-secret" not in str(refused.value)
        assert service.failures == 1
        assert pool.identify(bmc.bmc(), LOGIN).macs


ROOT = json.dumps({"RedfishVersion": "1.0", "Systems": {"@odata.id": "//evil.example/x"}}).encode()


@pytest.mark.rule("fault-07")
@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (None, "garbage", "not in HTTP|dropped"),
        (Answer(200, b"<html>login</html>"), "garbage", "no Redfish"),
        (Answer(200, b'["x"]'), "garbage", "no Redfish"),
        (Answer(302, b"", {"Location": "https://169.254.169.254/latest"}), "garbage", "not followed"),
        (Answer(503, b"{}"), "unreachable", "fails at"),
        (Answer(404, b"{}"), "unsupported", "has no"),
        (Answer(200, b" " * (5 << 20)), "garbage", "longer than"),
    ],
    ids=["drops", "html", "list", "redirect", "busy", "none", "huge"],
)
def test_broken_answers_have_their_own_names(
    pool: WorkerPool, tmp_path: Path, answer: Answer | None, kind: str, says: str
) -> None:
    with served(HttpsBmc(lambda *_: answer), tmp_path) as bmc, pytest.raises(BmcError, match=says) as refused:
        pool.identify(bmc.bmc(), LOGIN)
    assert refused.value.kind == kind or (answer is None and refused.value.kind == "unreachable")
    assert "secret-of-the-test" not in str(refused.value)


@pytest.mark.rule("threat-05")
def test_links_that_lead_elsewhere_are_not_followed(pool: WorkerPool, tmp_path: Path) -> None:
    service = Redfish({"/redfish/v1/": json.loads(ROOT)})
    with served(HttpsBmc(service.reply), tmp_path) as bmc, pytest.raises(BmcError, match="no path of its own"):
        pool.identify(bmc.bmc(), LOGIN)
    assert {path for _, path in bmc.asked} <= {"/redfish/v1/"} | {
        path for _, path in bmc.asked if path.startswith("/redfish/v1/SessionService/")
    }


def test_an_endless_tree_ends(pool: WorkerPool, tmp_path: Path) -> None:
    tree = golden("dell-idrac9")["resources"]
    path = "/redfish/v1/Systems/System.Embedded.1/EthernetInterfaces"
    tree[path]["Members"] = [{"@odata.id": f"{path}/{n}"} for n in range(100_000)]
    with served(HttpsBmc(Redfish(tree).reply), tmp_path) as bmc:
        found = pool.identify(bmc.bmc(), LOGIN)
    assert found.macs == ()
    assert len(bmc.asked) < 300


def test_auto_finds_redfish(pool: WorkerPool, tmp_path: Path) -> None:
    with served(HttpsBmc(Redfish(golden("hpe-ilo5")["resources"]).reply), tmp_path) as bmc:
        found = pool.identify(bmc.bmc("auto"), LOGIN)
        assert (found.protocol, found.port, found.vendor) == ("redfish", bmc.port, "HPE")
