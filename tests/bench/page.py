# ruff: noqa: T201 - a program that prints
"""How soon the page is there, and how soon it tells of an event: ``make bench-page``.

Real server on loopback, real Chromium without a screen, each machine with its history; server, browser and this
program share the processors.

- first paint: from the click to the browser's own first-contentful-paint, and to its load event.
- live: from the time that stands in the event, before it is written to the database, to the changed row.
- open pages: share of one processor that telling them takes while machines report twenty times a second; without
  Chromium, and without what writing the reports takes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from provisioner.storage.feed import ChangeFeed
from provisioner.storage.store import utc_microseconds
from provisioner.web.pages.board import View
from provisioner.web.pages.changes import BoardWatch, Position
from provisioner.web.pages.desk import Desk
from provisioner.web.pages.looks import Looks
from provisioner.web.pages.stream import TICK, board_told
from provisioner.web.parts import Parts
from tests.web.appliance import SwitchableStore
from tests.web.pages.conftest import open_office
from tests.web.pages.desktop import desktop_of, open_chromium, report_image, serving
from tests.web.pages.fleet import fill, night

_PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_LOADED = "() => performance.getEntriesByType('navigation')[0].loadEventEnd"


def spoken(milliseconds: Sequence[float]) -> str:
    return (
        f"best {min(milliseconds):5.0f}  median {statistics.median(milliseconds):5.0f}  "
        f"worst {max(milliseconds):5.0f} ms of {len(milliseconds)}"
    )


def paints(page: Page, url: str, rounds: int) -> None:
    painted, loaded = [], []
    for _ in range(rounds):
        page.goto(url)
        painted.append(float(page.wait_for_function(_PAINTED).json_value()))
        loaded.append(float(page.wait_for_function(_LOADED).json_value()))
    print(f"  first paint  {spoken(painted)}")
    print(f"  loaded       {spoken(loaded)}")


def measure(machines: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(open_chromium()) as browsers:
        chromium = next(browsers)
        with closing(open_office(Path(folder))) as offices:
            fleet = list(night(machines, utc_microseconds()))
            with desktop_of(next(offices), chromium, fleet, fill) as made, serving(made.app, made.port):
                page = made.page
                answer = page.goto(made.url)
                size = len(answer.body()) if answer else 0
                print(f"{machines} machines, page of {size / 1000:.0f} kB, load {os.getloadavg()[0]:.1f}")
                paints(page, made.url, rounds)
                expect(page.locator("#live")).to_have_text("live", timeout=15_000)
                told = []
                for number in range(2 * rounds):
                    # Not in step with the server, which looks for changes at its own pace.
                    page.wait_for_timeout(37 * number % 400)
                    told += [1000 * seconds for seconds in made.latencies("w003", events=1)]
                print(f"  event shown  {spoken(told)}", flush=True)


def share(parts: Parts, store: SwitchableStore, pages: int, seconds: float) -> float:
    """Of one processor, what a process with this many open pages takes while machines report."""
    looks = Looks(Desk(parts))
    watches = [BoardWatch(looks, View(), Position()) for _ in range(pages)]
    for watch in watches:
        board_told(watch)
    steps = int(seconds / TICK)
    spent, began = time.process_time(), time.monotonic()
    for step in range(steps):
        for _ in range(int(20 * TICK)):
            report_image(store, "w003", step % 100, f"wrote part {step}")
        for watch in watches:
            board_told(watch)
        time.sleep(max(0.0, began + (step + 1) * TICK - time.monotonic()))
    # Not by the time that went by: on a busy host the steps come late, and late ones would look cheap.
    return (time.process_time() - spent) / (steps * TICK)


def open_pages(machines: int, counts: Sequence[int], seconds: float) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_office(Path(folder))) as offices,
    ):
        appliance = next(offices).appliance
        fill(appliance.store, list(night(machines, utc_microseconds())))
        feed = ChangeFeed(appliance.store.real)
        feed.start()
        parts = replace(appliance.parts, snapshot=feed, clock=utc_microseconds)
        print(f"{machines} machines, load {os.getloadavg()[0]:.1f}")
        without = share(parts, appliance.store, 0, seconds)
        for pages in counts:
            taken = 100 * (share(parts, appliance.store, pages, seconds) - without)
            print(f"  {pages:2d} open pages {taken:5.1f} % of a processor", flush=True)
        feed.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--machines", type=int, nargs="+", default=[3, 300, 5000])
    parser.add_argument("--open", type=int, nargs="*", default=[1, 10, 30], help="pages; none: skip")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    for count in given.machines if given.rounds else ():
        measure(count, given.rounds)
    if given.open:
        open_pages(max(given.machines), given.open, given.seconds)
