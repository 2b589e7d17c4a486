"""What hands and eyes are promised: copying, hovering, motion, sizes, names that stay whole, cards for a thumb."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from provisioner.domain.machine import Machine
from provisioner.storage.store import utc_microseconds
from tests.web.pages.conftest import Office
from tests.web.pages.desktop import Desktop, chromium, desktop_of, serving
from tests.web.pages.fleet import night
from tests.web.pages.scenes import fill_odd, odd

__all__ = ["chromium"]

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

LONG = "rack12-unit07-kubernetes-control-plane-0017"

_SIZES = """() => [...new Set([...document.querySelectorAll('body *')]
    .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
        || e.matches('input:not([type=checkbox], [type=hidden])'))
    .map(e => getComputedStyle(e).fontSize))].sort()"""


@pytest.fixture
def made(office: Office, chromium: Browser) -> Iterator[Desktop]:
    """Nine rare machines and three usual ones; w003 is at work."""
    now = utc_microseconds()
    fleet: list[Machine] = [*odd(now), *night(3, now)]
    wires = {"wires": (("eth1", IPv4Address("10.12.0.1")),)}
    with desktop_of(office, chromium, fleet, fill_odd, wires) as desktop, serving(desktop.app, desktop.port):
        yield desktop
        assert desktop.complaints == []


def live(made: Desktop, address: str = "/") -> Page:
    made.page.goto(made.url + address)
    expect(made.page.locator("#live")).to_have_text("live", timeout=15_000)
    return made.page


def row(page: Page, name: str) -> Locator:
    return page.locator("#rows .row", has=page.locator(f'input[value="{name}"]'))


def test_an_address_is_copied_by_a_click_which_opens_nothing(made: Desktop) -> None:
    made.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = live(made)
    ip = row(page, "w003").locator(".ip button")
    ip.click()
    assert page.evaluate("() => navigator.clipboard.readText()") == ip.get_attribute("title", timeout=1000)[5:]  # type: ignore[index]
    assert page.evaluate("e => getComputedStyle(e, '::after').content", ip.element_handle()) == '" copied"'
    expect(page).to_have_url(f"{made.url}/")
    expect(page.locator("#drawer .sheet")).to_have_count(0)
    page = live(made, "/machines/w003")
    page.locator("#drawer dt:text('MAC') + dd button").click()
    mac = page.evaluate("() => navigator.clipboard.readText()")
    assert re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac)
    assert "mono" in page.evaluate("() => getComputedStyle(document.querySelector('#rows .ip button')).fontFamily")


def test_hovering_tells_addresses_exact_times_and_the_time_of_each_phase(made: Desktop) -> None:
    page = live(made)
    expect(row(page, "with-bmc").locator(".name a")).to_have_attribute(
        "title", re.compile(r"^MAC 52:54:00:00:00:2c, BMC 10\.12\.0\.18$")
    )
    expect(row(page, "w003").locator("time")).to_have_attribute(
        "title", re.compile(r"^\d{4}-.* \d\d:\d\d:\d\d UTC$")
    )
    segment = row(page, "w003").locator(".phases i").first
    expect(segment).to_have_attribute(
        "title", re.compile(r"^firmware: \d\d:\d\d:\d\d UTC, took \d+ s, usually \d+ s$")
    )


def test_who_has_no_mouse_reads_the_times_in_the_drawer(made: Desktop) -> None:
    page = live(made, "/machines/w003")
    page.locator("#times summary").click()
    expect(page.locator("#times li")).to_have_count(11)
    made.report("w003", 91, "wrote on")
    expect(page.locator("#now")).to_contain_text("image 91 %", timeout=15_000)
    # What was opened stays open when the drawer is told of something.
    expect(page.locator("#times li").first).to_be_visible()


def test_a_segment_is_as_long_as_it_took_longer_than_the_others(made: Desktop) -> None:
    slow = live(made).locator(".phases .w5").first
    box = slow.bounding_box()
    usual = slow.locator("xpath=..").locator("i.done:not(.w1, .w3, .w5)").first.bounding_box()
    assert box
    assert usual
    assert box["width"] > 1.8 * usual["width"]


def test_a_click_anywhere_on_a_row_opens_it_and_its_address_can_be_sent(made: Desktop) -> None:
    page = live(made)
    row(page, "w002").locator(".event").click()
    expect(page).to_have_url(f"{made.url}/machines/w002")
    expect(page.locator("#drawer h1")).to_have_text("w002")
    expect(row(page, "w002")).to_have_class(re.compile(r"\bopen\b"))
    drawer = page.locator("#drawer").bounding_box()
    age = row(page, "w002").locator(".age").bounding_box()
    assert drawer
    assert age
    assert age["x"] + age["width"] <= drawer["x"], "the drawer covers the machines"
    expect(page.locator(".pace")).to_be_visible()
    assert not _overlap(drawer, page.locator(".chips").bounding_box() or drawer)
    page.go_back()
    expect(page.locator("#drawer .sheet")).to_have_count(0)


_FLASHES = """() => {
    window.flashed = [];
    document.addEventListener("animationstart", ({animationName, target}) =>
        animationName === "flash" && flashed.push(target.className));
    new MutationObserver(found => found.forEach(({target}) =>
        target.classList.contains("flash") && (window.marked = getComputedStyle(target).outlineStyle)))
        .observe(document.querySelector("#rows"), { subtree: true, attributeFilter: ["class"] });
}"""


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_a_changed_cell_flashes_once_and_not_for_who_wants_no_motion(made: Desktop, motion: str) -> None:
    made.page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
    page = live(made)
    page.evaluate(_FLASHES)
    made.report("w003", 91, "wrote on")
    expect(row(page, "w003")).to_contain_text("image 91 %", timeout=15_000)
    page.wait_for_function("() => window.marked")
    flashed = page.evaluate("() => flashed.map(name => name.split(' ')[0]).sort()")
    breathes = page.evaluate(
        "() => getComputedStyle(document.querySelector('.phases .current'), '::before').animationName"
    )
    if motion == "reduce":
        assert (flashed, breathes, page.evaluate("() => marked")) == ([], "none", "solid")
    else:
        assert breathes == "breathe"
        assert flashed
        assert set(flashed) <= {"train", "event", "age"}
        assert len(set(flashed)) == len(flashed), "a cell flashed twice"


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
def test_three_sizes_of_text_are_enough(made: Desktop, size: tuple[int, int]) -> None:
    made.page.set_viewport_size({"width": size[0], "height": size[1]})
    for address in ("/", "/machines/with-bmc", "/machines/w002", "/subnets", "/bmcs", "/doctor"):
        made.page.goto(made.url + address)
        assert set(made.page.evaluate(_SIZES)) <= {"12px", "14px", "18px"}, address


def test_long_names_stay_whole_and_leave_the_table_its_columns(made: Desktop) -> None:
    page = live(made)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(row(page, LONG).locator(".name")).to_have_text(LONG)
    for cell in row(page, LONG).locator(".slot, .name, .role").all():
        assert cell.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert {round(box["height"]) for box in _boxes(page, "#rows .row")} <= {32, 33}
    event = row(page, LONG).locator(".event").bounding_box()
    assert event
    assert event["width"] > 200


def test_on_a_phone_a_card_leads_with_its_slot_and_state_and_buttons_are_at_the_thumb(made: Desktop) -> None:
    made.page.set_viewport_size({"width": 390, "height": 844})
    page = live(made)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    card = row(page, "w001")
    sizes = {part: card.locator(f".{part}").evaluate("e => getComputedStyle(e).fontSize") for part in
             ("slot", "state", "name", "event")}  # fmt: skip
    assert sizes == {"slot": "18px", "state": "18px", "name": "14px", "event": "14px"}
    slot, train, event = (card.locator(part).bounding_box() for part in (".slot", ".phases", ".event"))
    assert slot
    assert train
    assert event
    assert slot["y"] < train["y"] < event["y"]
    assert train["width"] > 320
    for name in (LONG, "server-525400aa0001"):
        boxes = [box for part in ("slot", "name", "ip", "age", "state")
                 if (box := row(page, name).locator(f".{part}").bounding_box())]  # fmt: skip
        assert not [(one, other) for one in boxes for other in boxes if one is not other and _overlap(one, other)]
    page = live(made, "/machines/with-bmc")
    for button in _boxes(page, "#acts summary, #acts > form button"):
        assert button["height"] >= 40
        assert button["y"] > 844 * 0.6


def test_the_chip_that_filters_is_seen_on_a_phone(made: Desktop) -> None:
    made.page.set_viewport_size({"width": 390, "height": 844})
    expect(live(made, "/?state=retired").locator("#chip-retired")).to_be_in_viewport(ratio=1)


_LOOKS = """marks => marks.map(mark => {
    const { clipPath, borderStyle, borderWidth, borderRadius, backgroundColor, backgroundImage, height } =
        getComputedStyle(mark);
    return [clipPath, borderStyle, borderWidth, borderRadius, backgroundColor, backgroundImage, height].join();
})"""


@pytest.mark.parametrize("selector", [".chip > .mark", "#rows .mark", "td > .mark"], ids=["chips", "rows", "away"])
def test_every_state_has_a_mark_of_its_own(made: Desktop, selector: str) -> None:
    away = selector.startswith("td")
    made.office.appliance.store.away = away
    page = made.page
    page.goto(made.url)
    marks = page.locator(selector)
    looks = set(marks.evaluate_all(_LOOKS))
    words = set(page.locator(selector).locator("xpath=..").all_inner_texts())
    # On a chip a count stands behind the word.
    assert len(looks) == len({word.split()[0] for word in words}) > 5
    made.complaints.clear()


def _boxes(page: Page, selector: str) -> list[dict[str, float]]:
    boxes = (element.bounding_box() for element in page.locator(selector).all())
    return [dict(box) for box in boxes if box]  # type: ignore[arg-type]


def _overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    return all(
        one[start] + 1 < other[start] + other[length] and other[start] + 1 < one[start] + one[length]
        for start, length in (("x", "width"), ("y", "height"))
    )
