"""Who may use the people's app, and how a browser's session is guarded."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from starlette.testclient import TestClient

from provisioner.actions import accounts, passwords
from provisioner.domain.errors import InvalidValue, NotAdmitted, StoreUnavailable
from provisioner.web.auth import COOKIE, Doorkeeper, _csrf
from provisioner.web.backoff import Backoff, TooManyAttempts
from provisioner.web.people import create_people_app
from tests.web.appliance import IP, MAC, PASSWORD, Appliance, make_appliance

HOME = "http://appliance:8080"
API = "/api/v1"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    yield from make_appliance(tmp_path, create_people_app)


def browser(appliance: Appliance, secret: str = "") -> TestClient:
    client = TestClient(appliance.app, base_url=HOME, follow_redirects=False)
    if secret:
        client.cookies.set(COOKIE, secret)
    return client


def log_in(appliance: Appliance) -> str:
    appliance.user()
    return accounts.login_by_password(appliance.store, "ada", PASSWORD, appliance.clock())


@pytest.mark.rule("threat-11")
def test_a_fresh_appliance_lets_nobody_in_until_the_link_is_used(appliance: Appliance) -> None:
    store, now = appliance.store, appliance.clock()
    link = accounts.first_login_link(store, now)
    assert link and link.startswith("/login?token=")
    for name, password in (("admin", ""), ("admin", "admin"), ("root", "root")):
        with pytest.raises(NotAdmitted):
            accounts.login_by_password(store, name, password, now)
    newer = accounts.first_login_link(store, now)
    assert newer and newer != link
    with pytest.raises(NotAdmitted):
        accounts.login_by_link(store, link.partition("=")[2], now, PASSWORD)
    token = newer.partition("=")[2]
    with pytest.raises(InvalidValue):
        accounts.login_by_link(store, token, now, "short")
    session = accounts.login_by_link(store, token, now, PASSWORD)
    assert browser(appliance, session).get(f"{API}/machines").status_code == 200
    with pytest.raises(NotAdmitted):
        accounts.login_by_link(store, token, now, PASSWORD)
    assert accounts.first_login_link(store, now) is None
    assert accounts.login_by_password(store, "admin", PASSWORD, now)


@pytest.mark.rule("threat-11")
def test_the_link_dies_after_a_day(appliance: Appliance) -> None:
    link = accounts.first_login_link(appliance.store, appliance.clock())
    assert link
    appliance.clock.advance(86_401)
    with pytest.raises(NotAdmitted):
        accounts.login_by_link(appliance.store, link.partition("=")[2], appliance.clock(), PASSWORD)


@pytest.mark.rule("threat-11")
def test_no_secret_stands_in_the_database(appliance: Appliance, tmp_path: Path) -> None:
    session = log_in(appliance)
    _, bearer = accounts.create_token(appliance.store, "ada", "ci", actor="test", now=appliance.clock())
    raw = b"".join(file.read_bytes() for file in tmp_path.glob("p.db*"))
    for secret in (session, bearer, PASSWORD):
        assert secret.encode() not in raw


def test_everything_but_a_few_doors_wants_an_account(appliance: Appliance) -> None:
    client = browser(appliance)
    paths = list(client.app.openapi()["paths"])  # type: ignore[attr-defined]
    assert len(paths) > 30
    for path in (*paths, "/openapi.json", "/docs", "/nonsense", "/machines/node-1", "/stream/rows", "//login"):
        answer = client.get(path.replace("{ref}", "x"))
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz", "/metrics"):
        assert client.get(path).status_code == 200
    page = client.get("/machines/node-1?q=1", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/machines/node-1%3Fq%3D1")


def test_wrong_credentials(appliance: Appliance) -> None:
    for header in (b"Bearer x", b"Bearer ", b"Basic YTpi", b"bearer", b"Bearer \xff"):
        answer = browser(appliance).get(f"{API}/machines", headers={"Authorization": header})
        assert answer.status_code == 401, header


def test_a_session_is_no_bearer_and_a_bearer_no_session(appliance: Appliance) -> None:
    session = log_in(appliance)
    _, bearer = accounts.create_token(appliance.store, "ada", "ci", actor="test", now=appliance.clock())
    assert browser(appliance, bearer).get(f"{API}/machines").status_code == 401
    as_bearer = {"Authorization": f"Bearer {session}"}
    assert browser(appliance).get(f"{API}/machines", headers=as_bearer).status_code == 401


def test_sessions_end(appliance: Appliance) -> None:
    session = log_in(appliance)
    client = browser(appliance, session)
    assert client.get(f"{API}/machines").status_code == 200
    accounts.logout(appliance.store, session)
    assert client.get(f"{API}/machines").status_code == 401
    session = accounts.login_by_password(appliance.store, "ada", PASSWORD, appliance.clock())
    appliance.clock.advance(7 * 86_400 + 1)
    assert browser(appliance, session).get(f"{API}/machines").status_code == 401


@pytest.mark.rule("threat-10")
@pytest.mark.parametrize(
    ("headers", "form", "status"),
    [
        ({"X-CSRF-Token": "@"}, {}, 200),
        ({}, {"csrf": "@"}, 422),  # admitted; the API takes JSON, not forms
        ({"X-CSRF-Token": "@", "Origin": HOME, "Sec-Fetch-Site": "same-origin"}, {}, 200),
        ({}, {}, 403),
        ({"X-CSRF-Token": "wrong"}, {}, 403),
        ({"X-CSRF-Token": ""}, {"csrf": "wrong"}, 403),
        ({"X-CSRF-Token": "@", "Origin": "http://evil.example"}, {}, 403),
        ({"X-CSRF-Token": "@", "Origin": "null"}, {}, 403),
        ({"X-CSRF-Token": "@", "Origin": "http://appliance:9090"}, {}, 403),
        ({"X-CSRF-Token": "@", "Sec-Fetch-Site": "cross-site"}, {}, 403),
        ({"X-CSRF-Token": "@", "Sec-Fetch-Site": "same-site"}, {}, 403),
    ],
)
def test_what_a_session_changes_comes_from_our_own_page(
    appliance: Appliance, headers: dict[str, str], form: dict[str, str], status: int
) -> None:
    appliance.add("node-1", MAC, IP)
    session = log_in(appliance)
    filled = {key: value.replace("@", _csrf(session)) for key, value in headers.items()}
    data = {key: value.replace("@", _csrf(session)) for key, value in form.items()}
    answer = browser(appliance, session).post(f"{API}/machines/node-1/arm", headers=filled, data=data or None)
    assert answer.status_code == status
    assert appliance.machine("node-1").state == ("armed" if status == 200 else "ready")


@pytest.mark.rule("threat-10")
def test_another_sessions_token_does_not_count(appliance: Appliance) -> None:
    appliance.add("node-1", MAC, IP)
    session = log_in(appliance)
    other = accounts.login_by_password(appliance.store, "ada", PASSWORD, appliance.clock())
    headers = {"X-CSRF-Token": _csrf(other)}
    assert browser(appliance, session).post(f"{API}/machines/node-1/arm", headers=headers).status_code == 403


@pytest.mark.rule("threat-10")
def test_logging_in_from_another_site_is_refused(appliance: Appliance) -> None:
    log_in(appliance)
    form = {"name": "ada", "password": PASSWORD}
    answer = browser(appliance).post("/login", data=form, headers={"Origin": "http://evil.example"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


@pytest.mark.rule("threat-10")
def test_a_bearer_needs_no_csrf_token_and_its_actor_is_named(appliance: Appliance) -> None:
    appliance.add("node-1", MAC, IP)
    log_in(appliance)
    _, bearer = accounts.create_token(appliance.store, "ada", "ci", actor="test", now=appliance.clock())
    headers = {"Authorization": f"Bearer {bearer}"}
    assert browser(appliance).post(f"{API}/machines/node-1/arm", headers=headers).status_code == 200
    assert appliance.events("node-1")[-1].actor == "token:ci"


def test_the_cookie_is_out_of_scripts_reach(appliance: Appliance) -> None:
    log_in(appliance)
    answer = browser(appliance).post("/login", data={"name": "ada", "password": PASSWORD})
    flags = answer.headers["set-cookie"].lower()
    assert answer.status_code == 303
    assert all(flag in flags for flag in ("httponly", "samesite=lax", "path=/"))
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_wrong_passwords_make_one_wait(appliance: Appliance) -> None:
    log_in(appliance)
    door = Doorkeeper(appliance.parts)
    for _ in range(4):
        with pytest.raises(NotAdmitted):
            door.login("ada", "wrong", "10.0.0.1")
    with pytest.raises(TooManyAttempts) as waits:
        door.login("ada", PASSWORD, "10.0.0.1")
    assert waits.value.seconds == 1
    assert door.login("ada", PASSWORD, "10.0.0.2")


def test_the_wait_doubles_up_to_five_minutes() -> None:
    backoff, now, waits = Backoff(), 1000.0, []
    for _ in range(16):
        wrong(backoff, "ada", now)
        waits.append(seconds_to_wait(backoff, "ada", now))
        now += waits[-1]
    assert waits[:7] == [0, 0, 0, 1, 2, 4, 8]
    assert waits[-1] == 300
    assert seconds_to_wait(backoff, "bob", now) == 0
    with backoff.attempt("ada", "here", now):
        pass
    for _ in range(3):
        wrong(backoff, "ada", now)
    assert seconds_to_wait(backoff, "ada", now) == 0, "who got in begins anew"


def ends_in(error: Exception) -> NoReturn:
    raise error


def wrong(backoff: Backoff, name: str, now: float) -> None:
    with suppress(NotAdmitted), backoff.attempt(name, "here", now):
        ends_in(NotAdmitted("wrong password"))


def seconds_to_wait(backoff: Backoff, name: str, now: float) -> int:
    """What somebody would be told who asks now. The database is away then, so that nothing is counted."""
    try:
        with backoff.attempt(name, "here", now):
            ends_in(StoreUnavailable("the database is away"))
    except TooManyAttempts as refused:
        return refused.seconds
    except StoreUnavailable:
        return 0


def test_of_passwords_that_come_at_once_few_are_looked_at() -> None:
    backoff, looked_at, all_have_asked = Backoff(), [], threading.Barrier(20, timeout=30)

    def guess(number: int) -> None:
        try:
            with backoff.attempt("ada", "here", 1000.0):
                looked_at.append(number)
                all_have_asked.wait()
                ends_in(NotAdmitted("wrong password"))
        except TooManyAttempts:
            all_have_asked.wait()
        except NotAdmitted:
            pass

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(guess, range(20)))
    assert len(looked_at) == 4


def test_a_password_that_is_changed_while_the_old_one_is_looked_at_opens_nothing(
    appliance: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance.user()
    look = passwords.verified

    def slow(stored: str, password: str) -> bool:
        good = look(stored, password)
        accounts.set_password(appliance.store, "ada", "another one altogether", actor="test", now=appliance.clock())
        return good

    monkeypatch.setattr(passwords, "verified", slow)
    with pytest.raises(NotAdmitted, match="the password was changed just now"):
        accounts.login_by_password(appliance.store, "ada", PASSWORD, appliance.clock())
    with appliance.store.reading() as tx:
        assert not [token for token in tx.tokens.list() if token.kind == "session"]


def test_the_door_answers_429_with_the_seconds(appliance: Appliance) -> None:
    log_in(appliance)
    client = browser(appliance)
    for _ in range(4):
        client.post("/login", data={"name": "ada", "password": "wrong"})
    answer = client.post("/login", data={"name": "ada", "password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_bodies_are_bounded(appliance: Appliance) -> None:
    session = log_in(appliance)
    client = browser(appliance, session)
    headers = {"X-CSRF-Token": _csrf(session), "Content-Type": "application/json"}
    big = b" " * (17 * 1024 * 1024)
    assert client.post(f"{API}/machines", content=big, headers=headers).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(17):
            yield bytes(1024 * 1024)

    assert client.post(f"{API}/machines", content=chunks(), headers=headers).status_code == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post(f"{API}/machines", content=b"a" * 70_000, headers=form).status_code == 413
