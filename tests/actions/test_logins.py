"""Several logins for a BMC: in order, remembered, and never so often that an account locks."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.actions import bmc_jobs, bmcs, logins, power
from provisioner.domain.bmc import Bmc, Identity, Login
from provisioner.domain.errors import BmcError, InvalidValue, NotFound
from provisioner.domain.mac import Mac
from provisioner.domain.records import Job
from provisioner.storage.store import SqlStore
from tests.actions.opening import NOW, open_store

WHO = {"actor": "test", "now": NOW}
MINUTE = 60 * 1_000_000


class LockingBmcs:
    """BMCs that take one login each and lock for good at the third wrong one."""

    def __init__(self, right: dict[str, Login]) -> None:
        self.right = right
        self.asked: list[tuple[str, Login]] = []
        self.wrong: Counter[str] = Counter()
        self.mood: Callable[[], None] = lambda: None
        self._guard = threading.Lock()

    def identify(self, bmc: Bmc, login: Login) -> Identity:
        with self._guard:
            self.mood()
            self.asked.append((bmc.address, login))
            if self.wrong[bmc.address] >= 3 or self.right[bmc.address] != login:
                self.wrong[bmc.address] += 1
                raise BmcError("wrong-password", f"BMC {bmc.address} refuses {login.user}", "correct it")
        return Identity(macs=(Mac.parse(f"52:54:00:00:00:{int(bmc.address.rpartition('.')[2]):02x}"),))


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    return open_store(tmp_path)


def harvest(store: SqlStore, port: LockingBmcs, at: int = NOW) -> Job:
    job = power.enqueue_harvest(store, None, actor="test", now=at)
    return bmc_jobs.run(store, port, job, lambda: at)  # type: ignore[arg-type]


def said(job: Job) -> list[str]:
    return [result["said"] for result in job.result.values()]


def candidate(store: SqlStore, prefix: str, user: str, password: str = "pw", position: int | None = None) -> None:
    fields = {"prefix": prefix, "user": user, "password": password, "position": position}
    logins.put_login(store, fields, **WHO)


def test_the_own_login_comes_first_then_the_narrowest_network_and_the_winner_is_remembered(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7", "user": "own", "password": "old"}, **WHO)
    candidate(store, "10.0.0.0/8", "wide")
    candidate(store, "10.9.0.0/24", "narrow")
    port = LockingBmcs({"10.9.0.7": Login("narrow", "pw")})
    assert harvest(store, port).state == "done"
    assert [login.user for _, login in port.asked] == ["own", "narrow"]
    assert harvest(store, port).state == "done"
    assert [login.user for _, login in port.asked] == ["own", "narrow", "narrow"]


def test_positions_order_the_logins_of_one_network(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7"}, **WHO)
    candidate(store, "10.9.0.0/24", "second", position=2)
    candidate(store, "10.9.0.0/24", "first", position=1)
    candidate(store, "fd00::/64", "other-family")
    port = LockingBmcs({"10.9.0.7": Login("second", "pw")})
    assert harvest(store, port).state == "done"
    assert [login.user for _, login in port.asked] == ["first", "second"]


def test_three_wrong_candidates_never_make_the_third_refusal_within_half_an_hour(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7"}, **WHO)
    for user in ("a", "b", "c"):
        candidate(store, "10.9.0.0/24", user)
    port = LockingBmcs({"10.9.0.7": Login("c", "pw")})
    for at in (NOW, NOW + MINUTE, NOW + 29 * MINUTE):
        job = harvest(store, port, at)
        assert job.state == "failed"
    assert [login.user for _, login in port.asked] == ["a", "b"]
    assert "it is not asked again before" in said(job)[0]
    assert "a, b" in said(job)[0]
    # The third has its turn when the BMC has forgotten the first two.
    assert harvest(store, port, NOW + 31 * MINUTE).state == "done"
    assert [login.user for _, login in port.asked] == ["a", "b", "c"]


def test_what_an_operator_sets_is_tried_at_once(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7", "user": "admin", "password": "wrong"}, **WHO)
    port = LockingBmcs({"10.9.0.7": Login("admin", "right")})
    assert harvest(store, port).state == "failed"
    assert harvest(store, port).state == "failed"
    assert len(port.asked) == 1
    bmcs.add_bmc(store, {"address": "10.9.0.7", "user": "admin", "password": "right"}, **WHO)
    assert harvest(store, port).state == "done"


def test_a_new_password_of_a_network_is_tried_at_once(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7"}, **WHO)
    candidate(store, "10.9.0.0/24", "admin", "wrong")
    port = LockingBmcs({"10.9.0.7": Login("admin", "right")})
    assert harvest(store, port).state == "failed"
    candidate(store, "10.9.0.0/24", "admin", "right")
    assert harvest(store, port).state == "done"


def test_a_rotated_password_falls_through_to_the_next_login(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7", "user": "admin", "password": "old"}, **WHO)
    candidate(store, "10.9.0.0/24", "admin", "new")
    port = LockingBmcs({"10.9.0.7": Login("admin", "old")})
    assert harvest(store, port).state == "done"
    port.right["10.9.0.7"] = Login("admin", "new")
    assert harvest(store, port).state == "done"
    assert port.wrong["10.9.0.7"] == 1


@pytest.mark.parametrize(
    ("kind", "tries"), [("unreachable", 3), ("session-limit", 3), ("privilege-too-low", 3), ("garbage", 3)]
)
def test_what_is_no_refusal_rests_nothing(store: SqlStore, kind: str, tries: int) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7", "user": "admin", "password": "pw"}, **WHO)
    port, asked = LockingBmcs({"10.9.0.7": Login("admin", "pw")}), []

    def fail() -> None:
        asked.append(1)
        raise BmcError(kind, "BMC 10.9.0.7 has its reasons", "wait")

    port.mood = fail
    for _ in range(tries):
        assert harvest(store, port).state == "failed"
    assert len(asked) == tries
    port.mood = lambda: None
    assert harvest(store, port).state == "done"


def test_two_jobs_at_once_try_a_wrong_login_once(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7", "user": "admin", "password": "wrong"}, **WHO)
    port = LockingBmcs({"10.9.0.7": Login("admin", "right")})
    second: list[Job] = []

    def meanwhile() -> None:
        if not second:
            port.mood = lambda: None
            second.append(harvest(store, LockingBmcs(port.right)))

    port.mood = meanwhile
    assert harvest(store, port).state == "failed"
    assert "another job is trying the login of admin" in said(second[0])[0]
    assert len(port.asked) == 1


def test_a_bmc_without_a_login_says_how_to_give_it_one(store: SqlStore) -> None:
    bmcs.add_bmc(store, {"address": "10.9.0.7"}, **WHO)
    assert "`provisioner bmc add 10.9.0.7 --user U --password-stdin`" in said(harvest(store, LockingBmcs({})))[0]


def test_network_logins_are_listed_without_passwords_and_forgotten(store: SqlStore) -> None:
    candidate(store, "10.9.0.0/24", "admin", "hunter2")
    with store.reading() as tx:
        assert "hunter2" not in repr(logins.network_logins(tx))
        assert [(each.prefix, each.user, each.position) for each in logins.network_logins(tx)] == [
            ("10.9.0.0/24", "admin", 1)
        ]
    logins.remove_login(store, "10.9.0.0/24", "admin", **WHO)
    with pytest.raises(NotFound, match="login list"):
        logins.remove_login(store, "10.9.0.0/24", "admin", **WHO)
    with pytest.raises(InvalidValue, match="user"):
        candidate(store, "10.9.0.0/24", "")
