"""The page with a night's work on it: 3 and 300 machines, one failed, one stuck.

``SCREENS=DIR`` keeps the pictures, to be looked at.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from provisioner.storage.store import utc_microseconds
from tests.web.pages import picture
from tests.web.pages.conftest import Office
from tests.web.pages.desktop import Desktop, chromium, desktop_of, serving
from tests.web.pages.fleet import listed, night

__all__ = ["chromium"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def full(office: Office, chromium: Browser) -> Iterator[Desktop]:
    with desktop_of(office, chromium, list(night(300, utc_microseconds()))) as made, serving(made.app, made.port):
        yield made


def test_those_that_need_a_person_come_first_and_say_what_is_wrong(full: Desktop) -> None:
    page = full.page
    page.goto(full.url)
    first, second = (page.locator("#rows .row").nth(index) for index in (0, 1))
    expect(first).to_contain_text("failed")
    expect(first).to_contain_text("holds a foreign LVM volume group")
    expect(second).to_contain_text("image 17 min")
    page.locator("#chip-stuck").click()
    expect(page.locator("#rows .row")).to_have_count(1)


_SHOWN = """() => [...document.querySelectorAll("#rows .row")].map(row => ({
    name: row.querySelector(".name a").textContent,
    ip: row.querySelector(".ip button").textContent,
    state: row.querySelector(".state").textContent,
    train: [...row.querySelectorAll(".phases i")].map(i => [i.classList[0], i.textContent]),
    event: row.querySelector(".event").textContent,
}))"""


def test_the_picture_in_the_readme_is_this_page(office: Office, chromium: Browser) -> None:
    """Its twelve machines in the browser: the same rows, states, trains, labels and sentences in the same order."""
    now = utc_microseconds()
    fleet = list(night(picture.COUNT, now))
    with desktop_of(office, chromium, fleet) as made, serving(made.app, made.port):
        made.page.goto(made.url)
        shown = made.page.evaluate(_SHOWN)
    drawn = [
        {
            "name": line.name,
            "ip": line.ip,
            "state": line.state,
            "train": [[segment.kind, segment.label] for segment in line.train],
            "event": line.event,
        }
        for line in picture.lines(fleet, now)
    ]
    assert shown == drawn


def test_without_javascript_everything_can_be_read(office: Office, chromium: Browser) -> None:
    machines = list(night(230, utc_microseconds()))
    with desktop_of(office, chromium, machines, java_script_enabled=False) as made, serving(made.app, made.port):
        page = made.page
        page.goto(made.url)
        expect(page.locator("#live")).to_contain_text("page of")
        expect(page.locator("#rows .row").first).to_contain_text("w001")
        page.get_by_role("link", name="Next").click()
        expect(page.locator("nav.pages")).to_contain_text("page 2 of 2")
        page.goto(made.url)
        page.locator("#q").fill("w002")
        page.locator("#q").press("Enter")
        expect(page.locator("#rows .row")).to_have_count(1)
        page.locator("#rows").get_by_role("link", name="w002").click()
        expect(page.locator("#drawer h1")).to_have_text("w002")
        expect(page.locator("#timeline li").first).to_contain_text("writing the image")
        page.locator("#drawer .close").click()
        expect(page.locator("#drawer .sheet")).to_have_count(0)


def test_of_five_thousand_machines_one_page_is_sent_and_the_rest_is_a_link_away(
    office: Office, chromium: Browser
) -> None:
    """What the first paint waits for does not grow with the fleet; `make bench-page` tells how long it takes."""
    fleet = list(night(5000, utc_microseconds()))
    with desktop_of(office, chromium, fleet, listed) as made, serving(made.app, made.port):
        page = made.page
        answer = page.goto(made.url)
        assert answer
        assert len(answer.body()) < 1 << 20
        expect(page.locator("#rows .row")).to_have_count(200)
        expect(page.locator("nav.pages")).to_contain_text("page 1 of 25, 5000 machines")
        page.get_by_role("link", name="Next").click()
        expect(page.locator("nav.pages")).to_contain_text("page 2 of 25")
