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
from tests.web.pages.desktop import AXE, Desktop, chromium, desktop_of, serving
from tests.web.pages.scenes import SETS, Scene

__all__ = ["chromium"]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not AXE.exists(), reason="`make setup` fetches axe-core"),
]

LIGHTS = ("light", "dark")
SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.mark.parametrize("name", SETS)
def test_it_reads_well_in_every_light_and_size(
    office: Office, chromium: Browser, tmp_path: Path, name: str
) -> None:
    stage = SETS[name]
    kept = Path(os.environ.get("SCREENS", tmp_path))
    kept.mkdir(parents=True, exist_ok=True)
    found: list[object] = []
    fleet = stage.fleet(utc_microseconds())
    fittings = stage.fitted(tmp_path)
    with desktop_of(office, chromium, fleet, stage.filling, fittings) as made, serving(made.app, made.port):
        for scene, size, light in itertools.product(stage.scenes, SIZES, LIGHTS):
            found += _seen(made, scene, size, light, kept / f"{scene.name}.{size}.{light}.png")
    assert found == []


def _seen(made: Desktop, scene: Scene, size: str, light: str, picture: Path) -> list[object]:
    """What is wrong with it."""
    page = made.page
    page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
    page.emulate_media(color_scheme=light)  # type: ignore[arg-type]
    page.goto(made.url + scene.address)
    if scene.live:
        expect(page.locator("#live")).to_have_text("live", timeout=15_000)
    scene.act(page)
    page.screenshot(path=picture)
    wide = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    return [*([(picture.stem, "sticks out sideways")] if wide else []), *_axe(page, picture.stem)]


def _axe(page: Page, name: str) -> list[object]:
    page.evaluate(AXE.read_text())
    return [
        (name, violation["id"], violation["nodes"][0]["failureSummary"])
        for violation in page.evaluate("async () => (await axe.run()).violations")
        if violation["impact"] in ("serious", "critical")
    ]
