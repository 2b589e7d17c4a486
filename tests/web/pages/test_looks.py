"""The page with a night's work on it: 300 machines, one failed, one stuck; as a desk and a phone show it.

``SCREENS=DIR`` keeps the pictures, to be looked at.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from provisioner.domain.machine import Machine
from provisioner.domain.ports import Store
from provisioner.storage.store import utc_microseconds
from tests.web.pages.conftest import Office
from tests.web.pages.desktop import AXE, Desktop, chromium, desktop_of, serving
from tests.web.pages.fleet import night

__all__ = ["chromium"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def full(office: Office, chromium: Browser) -> Iterator[Desktop]:
    with desktop_of(office, chromium, list(night(300, utc_microseconds()))) as made, serving(made.app, made.port):
        yield made


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not AXE.exists(), reason="`make setup` fetches axe-core")
def test_a_full_board_reads_well_in_every_light_and_size(full: Desktop, tmp_path: Path) -> None:
    page = full.page
    kept = Path(os.environ.get("SCREENS", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    found = []
    for size in (DESK, PHONE):
        for scheme in ("light", "dark"):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for address in ("/", "/machines/w001", "/machines/w002"):
                page.goto(full.url + address)
                expect(page.locator("#live")).to_have_text("live", timeout=15_000)
                name = f"{size['width']}-{scheme}{address.replace('/', '-').rstrip('-')}.png"
                page.screenshot(path=kept / name)
                assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), name
                page.evaluate(AXE.read_text())
                found += [
                    (name, violation["id"], violation["nodes"][0]["failureSummary"])
                    for violation in page.evaluate("async () => (await axe.run()).violations")
                    if violation["impact"] in ("serious", "critical")
                ]
    assert found == []
    assert full.complaints == []


def test_those_that_need_a_person_come_first_and_say_what_is_wrong(full: Desktop) -> None:
    page = full.page
    page.goto(full.url)
    first, second = (page.locator("#rows .row").nth(index) for index in (0, 1))
    expect(first).to_contain_text("failed")
    expect(first).to_contain_text("holds a foreign LVM volume group")
    expect(second).to_contain_text("image 17 min")
    page.locator("#chip-stuck").click()
    expect(page.locator("#rows .row")).to_have_count(1)


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
        page.get_by_role("link", name="w002").click()
        expect(page.locator("#drawer h1")).to_have_text("w002")
        expect(page.locator("#timeline li").first).to_contain_text("writing the image")
        page.locator("#drawer .close").click()
        expect(page.locator("#drawer .sheet")).to_have_count(0)


@pytest.mark.long
def test_the_first_paint_of_five_thousand_machines_is_under_a_second(office: Office, chromium: Browser) -> None:
    def listed(store: Store, machines: list[Machine]) -> None:
        with store.transaction("test") as tx:
            for machine in machines:
                tx.machines.put(machine)

    machines = list(night(5000, utc_microseconds()))
    with desktop_of(office, chromium, machines, listed) as made, serving(made.app, made.port):
        page = made.page
        page.goto(made.url)
        expect(page.locator("#rows .row").first).to_be_visible()
        times = []
        for _ in range(5):
            page.goto(made.url)
            expect(page.locator("#rows .row").first).to_be_visible()
            painted = page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint')[0]")
            times.append(painted.evaluate("entry => entry.startTime"))
        # The best: this host may be busy with other things.
        assert min(times) < 1000, times
