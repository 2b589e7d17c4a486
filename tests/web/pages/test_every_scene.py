"""Every scene at a desk and on a phone, by day and by night: nothing sticks out, axe finds nothing serious.

``SCREENS=DIR`` keeps the pictures, to be looked at. That is what they are for: no test sees that a page is ugly.
"""

import itertools
import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from provisioner.storage.store import utc_microseconds
from tests.web.pages.conftest import Office
from tests.web.pages.desktop import AXE, chromium, desktop_of, serving
from tests.web.pages.fleet import night
from tests.web.pages.scenes import SETS

__all__ = ["chromium"]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not AXE.exists(), reason="`make setup` fetches axe-core"),
]

LIGHTS = ("light", "dark")
SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the pictures go."""
    folder = Path(os.environ.get("SCREENS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("name", SETS)
def test_it_reads_well_in_every_light_and_size(
    office: Office, chromium: Browser, tmp_path: Path, kept: Path, name: str
) -> None:
    stage = SETS[name]
    found: list[object] = []
    fleet = stage.fleet(utc_microseconds())
    fittings = stage.fitted(tmp_path)
    scripts = {"java_script_enabled": stage.scripts}
    with (
        desktop_of(office, chromium, fleet, stage.filling, fittings, **scripts) as made,
        serving(made.app, made.port),
    ):
        office.appliance.store.away = stage.away
        for scene, size, light in itertools.product(stage.scenes, SIZES, LIGHTS):
            _show(made.page, size, light)
            made.page.goto(made.url + scene.address)
            if scene.live:
                expect(made.page.locator("#live")).to_have_text("live", timeout=15_000)
            scene.act(made.page)
            found += _wrong(made.page, kept / f"{scene.name}.{size}.{light}.png", axe=stage.scripts)
    assert found == []


def test_a_lost_connection_reads_well_too(office: Office, chromium: Browser, kept: Path) -> None:
    found: list[object] = []
    with desktop_of(office, chromium, list(night(30, utc_microseconds()))) as made:
        for size, light in itertools.product(SIZES, LIGHTS):
            _show(made.page, size, light)
            with serving(made.app, made.port):
                made.page.goto(made.url)
                expect(made.page.locator("#live")).to_have_text("live", timeout=15_000)
            expect(made.page.locator("#live")).to_have_text("reconnecting", timeout=15_000)
            found += _wrong(made.page, kept / f"lost.{size}.{light}.png")
            with serving(made.app, made.port):
                expect(made.page.locator("#live")).to_have_text("live again, caught up", timeout=20_000)
                found += _wrong(made.page, kept / f"found.{size}.{light}.png")
    assert found == []


def _show(page: Page, size: str, light: str) -> None:
    page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
    page.emulate_media(color_scheme=light)  # type: ignore[arg-type]


def _wrong(page: Page, picture: Path, *, axe: bool = True) -> list[object]:
    """What is wrong with what is shown now, and a picture of it."""
    page.screenshot(path=picture)
    wide = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    found: list[object] = [(picture.stem, "sticks out sideways")] if wide else []
    if axe:
        page.evaluate(AXE.read_text())
        found += [
            (picture.stem, violation["id"], violation["nodes"][0]["failureSummary"])
            for violation in page.evaluate("async () => (await axe.run()).violations")
            if violation["impact"] in ("serious", "critical")
        ]
    return found
