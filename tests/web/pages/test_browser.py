"""The page in a real browser: a change in the database shows without a reload, a lost connection resumes."""

import re
import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.web.pages.desktop import AXE, Desktop, chromium, desktop, serving

__all__ = ["chromium", "desktop"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

_CUT = "() => [...document.querySelectorAll('main.card')].some(card => card.scrollWidth > card.clientWidth)"
_PRESSED = "button:visible:not(.copy, .plain), .button:visible, input:visible:not([type=checkbox])"
CONFIRM = "/confirm?do=release&m=w001"


def row(page: Page, name: str) -> Locator:
    return page.locator("#rows .row", has=page.locator(f'input[value="{name}"]'))


def test_a_change_shows_at_once_in_row_and_drawer_and_disturbs_no_typing(desktop: Desktop, tmp_path: Path) -> None:
    page = desktop.page
    with serving(desktop.app, desktop.port):
        page.goto(desktop.url)
        expect(page.locator("#live")).to_have_text("live", timeout=15_000)
        page.evaluate_handle("() => { window.stayed = true }")
        page.locator("#rows").get_by_role("link", name="w003").click()
        expect(page).to_have_url(f"{desktop.url}/machines/w003")
        page.locator("#act-release summary").click()
        page.locator("#act-release input[name=typed]").fill("w0")
        desktop.report("w003", 77, "wrote <b>77</b> %")
        expect(row(page, "w003")).to_contain_text("image 77 %", timeout=15_000)
        expect(page.locator("#timeline li").first).to_contain_text("wrote <b>77</b> %", timeout=15_000)
        expect(page.locator("#act-release input[name=typed]")).to_have_value("w0")
        assert page.evaluate("() => window.stayed"), "the page was loaded anew"
        page.screenshot(path=tmp_path / "drawer.png")
    assert desktop.complaints == []


def test_an_event_is_on_the_page_within_a_second(desktop: Desktop) -> None:
    """From the event's own time to the changed row in the browser. The median: one may meet a busy host."""
    with serving(desktop.app, desktop.port):
        desktop.page.goto(desktop.url)
        expect(desktop.page.locator("#live")).to_have_text("live", timeout=15_000)
        # A host that is busy for the whole of one round is not the page's fault.
        medians = (statistics.median(desktop.latencies("w003", events=5)) for _ in range(4))
        assert any(median < 1 for median in medians)


def test_after_a_lost_connection_it_says_so_and_catches_up(desktop: Desktop) -> None:
    page = desktop.page
    with serving(desktop.app, desktop.port):
        page.goto(desktop.url)
        expect(page.locator("#live")).to_have_text("live", timeout=15_000)
    expect(page.locator("#live")).to_have_text("reconnecting", timeout=15_000)
    desktop.report("w003", 88, "wrote on while nobody looked")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.headers.get("last-event-id", "")))
    with serving(desktop.app, desktop.port):
        expect(page.locator("#live")).to_have_text("live again, caught up", timeout=20_000)
        expect(row(page, "w003")).to_contain_text("image 88 %", timeout=15_000)
    # It said where it was, so that only what it missed had to be sent.
    assert any(re.fullmatch(r"\d+\.[0-9a-f]+", position) for position in asked), asked


def test_keys_alone_are_enough(desktop: Desktop) -> None:
    page = desktop.page
    with serving(desktop.app, desktop.port):
        page.goto(desktop.url)
        expect(page.locator("#live")).to_have_text("live", timeout=15_000)
        for key in ("j", "j", "j", "k", "x", "Enter"):
            page.keyboard.press(key)
        expect(page).to_have_url(f"{desktop.url}/machines/w002")
        expect(page.locator("#count")).to_have_text("1 selected")
        page.keyboard.press("Escape")
        expect(page.locator("#drawer .sheet")).to_have_count(0)
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("w003")
        expect(page.locator("#rows .row")).to_have_count(1)
        expect(page).to_have_url(f"{desktop.url}/?q=w003")
        # The stream follows the search.
        desktop.report("w003", 61, "wrote on")
        expect(row(page, "w003")).to_contain_text("image 61 %", timeout=15_000)
    assert desktop.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
def test_nothing_sticks_out_sideways(
    desktop: Desktop, chromium: Browser, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    page = desktop.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    with serving(desktop.app, desktop.port):
        pages = ("/", "/machines/w001", "/subnets", "/bmcs", "/doctor", "/login", "/confirm?do=release&m=w001")
        for number, address in enumerate(pages):
            page.goto(desktop.url + address)
            page.screenshot(path=tmp_path / f"{number}.png")
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), address
            assert not page.evaluate(_CUT), f"{address} has to be pushed sideways"
            if address == "/" and size[0] == 1440:
                assert {box["height"] for box in _boxes(page, "#rows .row")} <= {32, 33}
            if size[0] == 390:
                small = [box for box in _boxes(page, _PRESSED) if box["height"] < 40]
                assert not small, "too small for a thumb"


@pytest.mark.skipif(not AXE.exists(), reason="`make setup` fetches axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
def test_axe_finds_nothing_serious(desktop: Desktop, size: tuple[int, int], scheme: str) -> None:
    page = desktop.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found = []
    with serving(desktop.app, desktop.port):
        for address in ("/", "/machines/w001", "/machines/w002", "/subnets", "/bmcs", "/doctor", "/login", CONFIRM):
            page.goto(desktop.url + address)
            page.evaluate(AXE.read_text())
            for violation in page.evaluate("async () => (await axe.run()).violations"):
                if violation["impact"] in ("serious", "critical"):
                    where = [node["target"] for node in violation["nodes"]][:4]
                    found.append((address, violation["id"], where, violation["nodes"][0]["failureSummary"]))
    assert found == []


def _boxes(page: Page, selector: str) -> list[dict[str, float]]:
    boxes = (element.bounding_box() for element in page.locator(selector).all())
    return [dict(box) for box in boxes if box]  # type: ignore[arg-type]
