"""The page in a real browser, headless Chromium, at a real server on loopback."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from provisioner.actions import accounts
from provisioner.domain import lifecycle
from provisioner.domain.events import Event, Kind
from provisioner.domain.lifecycle import Report
from provisioner.domain.machine import Machine, Phase
from provisioner.domain.ports import Store
from provisioner.storage.feed import ChangeFeed
from provisioner.storage.store import utc_microseconds
from provisioner.web.auth import COOKIE
from provisioner.web.people import create_people_app
from tests.web.pages.conftest import Office
from tests.web.pages.fleet import fill, night

AXE = Path(__file__).parents[3] / ".cache" / "npm" / "node_modules" / "axe-core" / "axe.min.js"

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


_NOTE_CHANGES = """() => {
    window.noted ??= {};
    new MutationObserver(() => {
        const now = Date.now();
        for (const cell of document.querySelectorAll("#rows .event")) window.noted[cell.textContent.trim()] ??= now;
    }).observe(document.querySelector("#rows"), { subtree: true, childList: true, characterData: true });
}"""
"""When, by the host's clock, each last event came to stand in the table."""


@contextmanager
def serving(app: object, port: int) -> Iterator[None]:
    """A real server on loopback; its open streams are cut when it stops, as when the appliance restarts."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)  # type: ignore[arg-type]
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    yield from open_chromium()


def open_chromium() -> Iterator[Browser]:
    """Debian's, without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Desktop:
    """A served appliance and a browser at it. ``complaints``: what the browser's console says is wrong."""

    office: Office
    app: object
    port: int
    page: Page
    complaints: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def report(self, name: str, percent: int, said: str) -> int:
        """The machine says how far it is; when it did so, in UTC microseconds."""
        return report_image(self.office.appliance.store, name, percent, said)

    def latencies(self, name: str, events: int) -> list[float]:
        """Seconds from each event's own time until the open page's row of this machine tells it."""
        self.page.evaluate(_NOTE_CHANGES)
        told = []
        for number in range(events):
            said = f"wrote part {uuid4().hex}"
            at = self.report(name, number % 100, said)
            seen = self.page.wait_for_function("said => window.noted[said]", arg=said, timeout=15_000)
            told.append(float(seen.json_value()) / 1000 - at / 1_000_000)
        return told


def report_image(store: Store, name: str, percent: int, said: str) -> int:
    """A machine says how much of its image it has written; when it did so, in UTC microseconds."""
    now = utc_microseconds()
    with store.transaction("machine") as tx:
        machine = tx.machines.get(name)
        tx.machines.put_progress(lifecycle.after(machine, Report("progress", Phase.IMAGE, percent), now))
        tx.events.add(Event(Kind.REPORT_PROGRESS, said, now, machine.id, phase=Phase.IMAGE))
    return now


@pytest.fixture
def desktop(office: Office, chromium: Browser) -> Iterator[Desktop]:
    with desktop_of(office, chromium, list(night(3, utc_microseconds()))) as made:
        yield made


@contextmanager
def desktop_of(
    office: Office,
    chromium: Browser,
    machines: Sequence[Machine],
    filling: Callable[[Store, list[Machine]], object] = fill,
    fittings: Mapping[str, Any] | None = None,
    **context_options: Any,
) -> Iterator[Desktop]:
    """A browser at these machines. ``fittings`` are fields of ``Parts``, ``context_options`` Playwright's."""
    appliance = office.appliance
    filling(appliance.store, list(machines))
    feed = ChangeFeed(appliance.store.real)
    feed.start()
    # A session of the test's clock would be over by now: this one is of today.
    appliance.clock.now = utc_microseconds()
    app = create_people_app(replace(appliance.parts, snapshot=feed, clock=utc_microseconds, **fittings or {}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **context_options})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    made = Desktop(office, app, port, page, complaints)
    secret = session(office)
    context.add_cookies([{"name": COOKIE, "value": secret, "url": made.url}])
    yield made
    context.close()
    feed.stop()


def session(office: Office) -> str:
    now = utc_microseconds()
    link = accounts.first_login_link(office.appliance.store, now) or ""
    return accounts.login_by_link(office.appliance.store, link.partition("=")[2], now)
