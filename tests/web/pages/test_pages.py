"""The pages as a browser gets them: reading, acting, refusals, and what hostile machines write into them."""

import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from provisioner.actions import accounts, newcomers
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase, State
from provisioner.web.auth import COOKIE
from provisioner.web.pages.board import View
from provisioner.web.pages.desk import Desk
from tests.web.pages.conftest import NAME, Office
from tests.web.pages.fleet import MINUTE, bare, ended, fill, installing, night

PASSWORD = "correct horse battery"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


def csrf(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found
    return found[1]


def names(html: str) -> list[str]:
    return re.findall(r'name="m" value="([^"]+)" aria-label', html)


def test_an_empty_appliance_teaches_the_next_step(office: Office) -> None:
    html = office.browser.get("/").text
    assert "No machine is listed yet" in html
    commands = [re.sub(r"<[^>]+>", "", found) for found in re.findall(r"<button[^>]* typed.*?</button>", html)]
    assert "provisioner bmc add 10.12.0.17 --user ADMIN --password-stdin" in commands
    assert [command.split()[1:3] for command in commands][-2:] == [["machine", "add"], ["machine", "install"]]


def test_the_board_shows_every_machine_without_a_script(office: Office) -> None:
    fill(office.appliance.store, list(night(12, office.appliance.clock())))
    html = office.browser.get("/").text
    assert names(html)[:3] == ["w001", "w002", "w003"]
    assert len(names(html)) == 12
    assert "image 43 %" in html
    assert "image 17 min" in html
    assert "✕ disk" in html
    assert re.search(r'is-stuck" id="chip-stuck" href="/\?state=stuck" ><i class="mark"></i>stuck <b>1</b>', html)


def test_chips_and_search_filter(office: Office) -> None:
    fill(office.appliance.store, list(night(12, office.appliance.clock())))
    assert names(office.browser.get("/?state=failed").text) == ["w001"]
    assert names(office.browser.get("/?q=10.12.1.5").text) == ["w005"]
    none = office.browser.get("/?q=%3Cb%3E&state=stuck").text
    assert "No machine is stuck and matches “&lt;b&gt;”" in none


def test_the_address_of_a_machine_opens_its_drawer(office: Office) -> None:
    fill(office.appliance.store, list(night(3, office.appliance.clock())))
    html = office.browser.get("/machines/w002").text
    assert names(html) == ["w001", "w002", "w003"]
    assert "the image stopped on its way" in html
    assert "asked for an address; offered 10.12.1.2" in html
    piece = office.browser.get("/machines/w002", headers={"HX-Request-Type": "partial"}).text
    assert piece.lstrip().startswith('<div class="sheet')
    assert names(piece) == []


@pytest.mark.parametrize("headers", [{}, {"HX-Request-Type": "partial"}])
def test_a_machine_that_is_not_listed(office: Office, headers: dict[str, str]) -> None:
    answer = office.browser.get("/machines/nobody", headers=headers)
    assert answer.status_code == 404
    assert "No machine is called nobody" in answer.text


@pytest.mark.rule("threat-07")
def test_nothing_that_a_machine_says_becomes_markup(office: Office) -> None:
    now = office.appliance.clock()
    machine = replace(
        ended(bare("w1"), State.FAILED, Phase.DISK, HOSTILE, at=now),
        labels={"note": HOSTILE}, vendor=HOSTILE, model=HOSTILE, serial=HOSTILE,
    )  # fmt: skip
    fill(office.appliance.store, [machine])
    with office.appliance.store.transaction("test") as tx:
        tx.events.add(Event(Kind.REPORT_LOG, HOSTILE, now, machine.id, actor=HOSTILE, data={"text": HOSTILE}))
        tx.events.add(Event(Kind.REPORT_PROGRESS, HOSTILE, now, machine.id, data={HOSTILE: [HOSTILE]}))
    for address in (
        "/",
        "/machines/w1",
        "/?q=" + HOSTILE,
        "/confirm?do=release&m=" + HOSTILE,
        "/login?next=" + HOSTILE,
    ):
        html = office.browser.get(address).text
        assert "<script>alert" not in html, address
        assert "<img" not in html, address
        assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(..)", html), address
    policy = office.browser.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    # The policy allows no inline code, so there may be none.
    assert not re.search(r"<script(?! src=)|\son\w+=\"|style=\"", office.browser.get("/").text)


def test_no_page_asks_for_anything_from_outside(office: Office) -> None:
    fill(office.appliance.store, list(night(3, office.appliance.clock())))
    html = office.browser.get("/machines/w001").text
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', html):
        assert not urlsplit(address).netloc, address
    for address in re.findall(r'(?:src|href)="(/static/[^"]*)"', html):
        if "/vendor/" not in address:
            assert office.browser.get(address).headers["Cache-Control"].endswith("immutable")


@pytest.mark.parametrize("path", ["/static/../people.py", "/static/%2e%2e/people.py", "/static//etc/passwd"])
def test_only_static_files_are_static(office: Office, path: str) -> None:
    assert office.browser.get(path).status_code == 404


def test_arming_wants_the_name_and_then_shows_on_the_timeline(office: Office) -> None:
    office.appliance.add("w1", "52:54:00:12:00:11", "10.12.1.17")
    form = {"csrf": csrf(office.browser.get("/machines/w1").text), "do": "arm", "m": "w1"}
    refused = office.browser.post("/act", data=form | {"typed": "w2"})
    assert refused.status_code == 422
    assert "type &#39;w1&#39; exactly; nothing was done" in refused.text
    assert office.appliance.machine("w1").state is State.READY
    done = office.browser.post("/act", data=form | {"typed": "w1"})
    assert (done.status_code, done.headers["Location"]) == (303, "/machines/w1")
    html = office.browser.get("/machines/w1").text
    assert f"by user:{NAME}" in html
    assert "armed" in html


def test_a_newcomer_is_approved_by_a_button_that_others_do_not_have(office: Office) -> None:
    sighting = Sighting(Mac.parse("52:54:00:aa:00:01"), "dhcp", 1, "PXE on eth1", "approve")
    with office.appliance.store.transaction("packets") as tx:
        newcomers.list_seen(tx, [sighting])
    office.appliance.add("listed", "52:54:00:aa:00:02", "10.12.1.50", role="")
    name = "server-525400aa0001"
    form = {"csrf": csrf(office.browser.get("/").text), "do": "approve", "m": name}
    assert 'value="approve"' in office.browser.get(f"/machines/{name}").text
    assert 'value="approve"' not in office.browser.get("/machines/listed").text
    assert office.browser.post("/act", data=form).status_code == 303
    assert office.appliance.machine(name).approved
    assert 'value="approve"' not in office.browser.get(f"/machines/{name}").text


def test_disarming_loses_nothing_and_asks_nothing(office: Office) -> None:
    office.appliance.add("w1", "52:54:00:12:00:11", "10.12.1.17")
    office.appliance.arm("w1")
    form = {"csrf": csrf(office.browser.get("/").text), "do": "disarm", "m": "w1"}
    assert office.browser.post("/act", data=form).status_code == 303
    assert office.appliance.machine("w1").state is State.READY


def test_several_at_once_tell_each_outcome(office: Office) -> None:
    office.appliance.add("w1", "52:54:00:12:00:11", "10.12.1.17")
    office.appliance.add("w2", "52:54:00:12:00:12", "10.12.1.18")
    office.appliance.arm("w1")
    asked = office.browser.get("/confirm?do=release&m=w1&m=w2").text
    assert "2 machines" in asked
    form = {"csrf": csrf(asked), "do": "release", "m": ["w1", "w2"], "typed": "2 machines"}
    answer = office.browser.post("/act", data=form)
    assert answer.status_code == 409
    assert "1 of 2 done" in answer.text
    assert "w2 is ready and holds nothing to release" in answer.text
    assert office.appliance.machine("w1").state is State.READY


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("/confirm?do=explode&m=w1", "is not known"), ("/confirm?do=arm", "at least one machine")],
)
def test_a_confirmation_of_nonsense_is_refused(office: Office, address: str, sentence: str) -> None:
    answer = office.browser.get(address)
    assert answer.status_code == 422
    assert sentence in answer.text


@pytest.mark.rule("threat-10")
def test_no_form_works_without_its_token(office: Office) -> None:
    office.appliance.add("w1", "52:54:00:12:00:11", "10.12.1.17")
    form = {"do": "arm", "m": "w1", "typed": "w1"}
    assert office.browser.post("/act", data=form).status_code == 403
    assert office.browser.post("/logout", data={}).status_code == 403
    assert office.appliance.machine("w1").state is State.READY


def test_buttons_fit_the_state(office: Office) -> None:
    now = office.appliance.clock()
    fill(office.appliance.store, [bare("w1", 1), installing(bare("w2", 2), Phase.IMAGE, quiet=MINUTE, now=now)])

    def buttons(name: str) -> set[str]:
        html = office.browser.get(f"/machines/{name}").text
        return set(re.findall(r'name="do" value="(\w+)"><input type="hidden" name="m"', html))

    assert buttons("w1") == {"arm", "retire"}
    assert buttons("w2") == {"release"}


def test_while_the_database_is_away_the_board_still_shows_the_snapshot(office: Office) -> None:
    office.appliance.add("w1", "52:54:00:12:00:11", "10.12.1.17")
    board = office.browser.get("/").text
    assert "cannot be reached" not in board
    desk = Desk(office.appliance.parts)
    office.appliance.snapshot.hold()
    office.appliance.store.away = True
    shown = desk.board(View())
    assert [row.name for row in shown.rows] == ["w1"]
    assert not shown.readings.available


def test_who_is_not_logged_in_is_sent_to_the_login_and_back(office: Office) -> None:
    accounts.set_password(office.appliance.store, NAME, PASSWORD, actor="test", now=office.appliance.clock())
    stranger = office.stranger()
    sent = stranger.get("/machines/w1?x=1", headers={"Accept": "text/html"})
    assert sent.status_code == 303
    login = stranger.get(sent.headers["Location"])
    assert login.status_code == 200
    form = {
        "name": NAME,
        "password": PASSWORD,
        "next": parse_qs(urlsplit(sent.headers["Location"]).query)["next"][0],
    }
    back = stranger.post("/login", data=form)
    assert (back.status_code, back.headers["Location"]) == (303, "/machines/w1?x=1")
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"]
)
def test_logging_in_leads_nowhere_else(office: Office, elsewhere: str) -> None:
    form = office.stranger().get("/login", params={"next": elsewhere}).text
    assert 'name="next" value="/"' in form


def test_a_wrong_password_says_so_and_sets_no_session(office: Office) -> None:
    answer = office.stranger().post("/login", data={"name": NAME, "password": "wrong horse battery"})
    assert answer.status_code == 403
    assert "Wrong name or password; try again, or ask for <code>provisioner user add</code>" in answer.text
    assert COOKIE not in answer.cookies


def test_the_first_link_sets_a_password_once(office: Office) -> None:
    link = accounts.first_login_link(office.appliance.store, office.appliance.clock())
    assert link
    stranger = office.stranger()
    form = stranger.get(link).text
    assert "Set your password" in form
    token = parse_qs(urlsplit(link).query)["token"][0]
    short = stranger.post("/login", data={"token": token, "password": "short"})
    assert short.status_code == 422
    assert token in short.text
    done = stranger.post("/login", data={"token": token, "password": "a long new password"})
    assert done.status_code == 303
    assert stranger.get("/").status_code == 200
    again = office.stranger().post("/login", data={"token": token, "password": "a long new password"})
    assert again.status_code == 403


def test_logging_out_ends_the_session_here_too(office: Office) -> None:
    token = csrf(office.browser.get("/").text)
    assert office.browser.post("/logout", data={"csrf": token}).status_code == 303
    late = office.stranger()
    late.cookies.set(COOKIE, office.secret)
    assert late.get("/", headers={"Accept": "text/html"}).status_code == 303


@pytest.mark.parametrize(
    ("address", "words"), [("/subnets", "10.12.0.0/16"), ("/bmcs", "provisioner bmc add ADDRESS")]
)
def test_the_smaller_lists(office: Office, address: str, words: str) -> None:
    assert words in re.sub(r"<[^>]+>", "", office.browser.get(address).text)
