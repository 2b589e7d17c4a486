"""What a BMC refuses has its own name and its own remedy, and no password in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyghmi.exceptions import IpmiException

from provisioner.actions import bmc_jobs, fields, power
from provisioner.actions.bmcs import add_bmc
from provisioner.bmc import ipmi
from provisioner.bmc.pool import WorkerPool
from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import BmcError
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store
from tests.bmc.https_bmc import LOGIN, Answer, HttpsBmc, Redfish, certificate, served
from tests.bmc.test_redfish import golden

pytestmark = [pytest.mark.system, pytest.mark.rule("fault-07")]
WHO = {"actor": "test", "now": NOW}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=2, allow_loopback=True, between=0)
    yield made
    made.close()


class Strict(Redfish):
    """``says`` answers what it is asked for, instead of the tree."""

    def __init__(self, **says: Answer) -> None:
        super().__init__(golden("dell-idrac9")["resources"])
        self.says = says

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        for part, answer in self.says.items():
            if part in path and method in ("POST", "GET"):
                return answer
        return super().reply(method, path, headers, body)


SESSIONS = b'{"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.SessionLimitExceeded"}]}}'


@pytest.mark.parametrize(
    ("says", "kind", "remedy"),
    [
        ({"Sessions": Answer(503, b"{}")}, "session-limit", "wait for old sessions to end"),
        ({"Sessions": Answer(400, SESSIONS)}, "session-limit", "wait for old sessions to end"),
        ({"Systems": Answer(403, b"{}")}, "privilege-too-low", "give this user more rights"),
        ({"Systems": Answer(500, b"oops")}, "unreachable", "wait, then try again"),
    ],
)
def test_redfish_refusals(
    pool: WorkerPool, tmp_path: Path, says: dict[str, Answer], kind: str, remedy: str
) -> None:
    with served(HttpsBmc(Strict(**says).reply), tmp_path) as bmc, pytest.raises(BmcError) as refused:
        pool.identify(bmc.bmc(), LOGIN)
    assert (refused.value.kind, remedy in refused.value.remedy) == (kind, True)
    assert LOGIN.password not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Insufficient resources to create new session (wait for existing sessions to timeout)", "session-limit"),
        ("No slot available with requested privilege level", "session-limit"),
        ("Unauthorized role or privilege level requested", "privilege-too-low"),
        ("Invalid integrity algorithm", "unsupported"),
    ],
)
def test_what_pyghmi_says_of_a_login_is_told_apart(said: str, kind: str) -> None:
    with pytest.raises(BmcError) as refused, ipmi.translated("10.9.0.1", "admin"):
        raise IpmiException(said)
    assert (refused.value.kind, said in refused.value.problem) == (kind, True)


@pytest.mark.rule("threat-05")
def test_a_replaced_bmc_is_refused_until_its_new_certificate_is_allowed(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test's BMC is on loopback, which nobody may list.
    monkeypatch.setattr(fields, "bmc_address", fields.address)
    store = open_store(tmp_path)
    door = {"address": "127.0.0.1"}
    service = Redfish(golden("dell-idrac9")["resources"])
    first = HttpsBmc(service.reply)
    with served(first, tmp_path, pem=certificate(tmp_path)):
        login = {"user": LOGIN.user, "password": LOGIN.password}
        add_bmc(store, {**door, **login, "protocol": "redfish", "port": first.port}, **WHO)
        assert harvested(pool, store)["ok"]
        old = stored(store).certificate
    second = HttpsBmc(service.reply)
    with served(second, tmp_path, pem=certificate(tmp_path), port=first.port):
        refused = harvested(pool, store)
        assert not refused["ok"]
        assert f"not the pinned {old}" in refused["said"]
        assert "bmc add 127.0.0.1 --new-certificate" in refused["said"]
        assert second.asked == []
        add_bmc(store, {**door, "new_certificate": True}, **WHO)
        assert stored(store).certificate == ""
        assert harvested(pool, store)["ok"]
        assert stored(store).certificate not in ("", old)


def harvested(pool: WorkerPool, store: SqlStore) -> dict[str, object]:
    (result,) = bmc_jobs.run(store, pool, power.enqueue_harvest(store, **WHO), lambda: NOW).result.values()
    return dict(result)


def stored(store: SqlStore) -> Bmc:
    with store.reading() as tx:
        return tx.bmcs.get("127.0.0.1")
