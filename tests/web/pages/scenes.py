"""Every state of the page that a person may meet: what is on the appliance, where to go, what to do there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import uuid4

from playwright.sync_api import Page, expect

from provisioner.doctor.checkup import Checkup
from provisioner.doctor.findings import ok, problem, unseen, warning
from provisioner.domain.bmc import Bmc
from provisioner.domain.machine import Machine, Phase, State
from provisioner.domain.ports import Store
from provisioner.storage.store import utc_microseconds
from tests.web.pages.fleet import MINUTE, SECOND, bare, ended, fill, installing, night

FINDINGS = (
    problem("other-dhcp", "another DHCP server answers on eth1: 10.12.1.9", "find it by its MAC and switch it off"),
    problem("disk", "0.3 of 100 GiB free in /var/lib/provisioner", "`provisioner image list` says what takes room"),
    problem("images", "role worker needs image flatcar, which is not there", "`provisioner image fetch flatcar`"),
    warning("clock", "nothing keeps this host's clock right", "`apt install chrony`"),
    unseen("fetch", "nothing was fetched: the appliance does not run", "`provisioner serve`, then again"),
    ok("wire", "interface eth1 is up and has 10.12.1.2/24, DHCP authoritative"),
)

METRICS = (
    'provisioner_dhcp_rogue_servers{interface="eth1",address="10.12.1.9",mac="52:54:00:98:0d:01"} 1\n'
    'provisioner_dhcp_leases_refused{why="database or disk is full"} 1\n'
)


def _look(page: Page) -> None:
    """Nothing to do but look."""


@dataclass(frozen=True)
class Scene:
    """``act``: what a person does once the page is there."""

    name: str
    address: str = "/"
    act: Callable[[Page], object] = _look
    live: bool = True
    """Has it a dot that says live?"""


def _select_two(page: Page) -> None:
    for name in ("w002", "w003"):
        page.locator(f'#rows input[value="{name}"]').check()


def _open_first_act(page: Page) -> None:
    page.locator("#acts details summary").first.click()


def _typed_wrong(page: Page) -> None:
    page.locator("#act-release summary").click()
    page.locator("#act-release input[name=typed]").fill("w00")
    page.locator("#act-release form button").click()
    expect(page.locator("h1")).to_have_text("Not done")


def _some_refused(page: Page) -> None:
    page.locator("input[name=typed]").fill("2 machines")
    page.locator("main button").click()
    expect(page.locator("h1")).to_contain_text("of 2 done")


def _open_details(page: Page) -> None:
    page.locator("#timeline details summary").last.click()
    page.locator("#timeline details").last.scroll_into_view_if_needed()


def _scrolled(page: Page) -> None:
    page.evaluate("() => { document.documentElement.scrollTop = 1800 }")
    page.wait_for_timeout(200)


def _press(*keys: str) -> Callable[[Page], object]:
    return lambda page: [page.keyboard.press(key) for key in keys]


def _hover(selector: str) -> Callable[[Page], object]:
    return lambda page: page.locator(selector).first.hover()


def _wrong_password(page: Page) -> None:
    page.locator("input[name=name]").fill("ada")
    page.locator("input[name=password]").fill("wrong horse battery")
    page.locator("main button").click()
    expect(page.locator("[role=alert]")).to_be_visible()


def _plain(name: str, address: str, act: Callable[[Page], object] = _look) -> Scene:
    return Scene(name, address, act, live=False)


EMPTY = (
    Scene("board-empty"),
    _plain("subnets-one", "/subnets"),
    _plain("bmcs-none", "/bmcs"),
    _plain("doctor-not-yet", "/doctor"),
    _plain("login", "/login"),
    _plain("login-refused", "/login", _wrong_password),
    _plain("login-first", "/login?token=some-token"),
    _plain("not-listed", "/machines/nobody"),
)

THREE = (
    Scene("board"),
    Scene("drawer-failed", "/machines/w001"),
    Scene("drawer-stuck", "/machines/w002"),
    Scene("drawer-installing", "/machines/w003"),
    Scene("drawer-details", "/machines/w002", _open_details),
    Scene("drawer-sure", "/machines/w001", _open_first_act),
    Scene("selected", act=_select_two),
    Scene("keys", act=_press("?")),
    Scene("row-marked", act=_press("j", "j")),
    Scene("chip", "/?state=stuck"),
    Scene("none-in-state", "/?state=quarantined"),
    Scene("none-found", "/?q=nowhere&state=failed"),
    _plain("confirm-one", "/confirm?do=arm&m=w001"),
    _plain("confirm-two", "/confirm?do=release&m=w001&m=w002"),
    _plain("confirm-harmless", "/confirm?do=disarm&m=w003"),
    _plain("confirm-none", "/confirm?do=arm"),
    _plain("some-refused", "/confirm?do=install&m=w001&m=w002", _some_refused),
    _plain("typed-wrong", "/machines/w001", _typed_wrong),
)

TROUBLE = (Scene("trouble"), _plain("doctor", "/doctor"), Scene("trouble-drawer", "/machines/w001"))

HUNDREDS = (
    Scene("300"),
    Scene("300-scrolled", act=_scrolled),
    Scene("300-page-2", "/?page=2"),
    Scene("300-installing", "/?state=installing"),
    Scene("300-search", "/?q=r3"),
    Scene("300-drawer-failed", "/machines/w001"),
    Scene("300-drawer-active", "/machines/w005"),
)

ODD = (
    Scene("odd"),
    Scene("odd-drawer-quarantined", "/machines/odd-quarantined"),
    Scene("odd-drawer-new", "/machines/server-525400aa0001"),
    Scene("odd-drawer-long", "/machines/rack12-unit07-kubernetes-control-plane-0017"),
    Scene("odd-drawer-bmc", "/machines/with-bmc"),
    Scene("odd-drawer-bmc-sure", "/machines/with-bmc", _open_first_act),
    Scene("odd-drawer-armed-long-ago", "/machines/never-came"),
    _plain("odd-bmcs", "/bmcs"),
    _plain("odd-confirm", "/confirm?do=cycle&m=with-bmc&m=rack12-unit07-kubernetes-control-plane-0017"),
)


def odd(now: int) -> list[Machine]:
    """States and names that are rare, and just those that a layout forgets."""
    long = bare("rack12-unit07-kubernetes-control-plane-0017", 40)
    long = replace(
        ended(long, State.FAILED, Phase.WRITTEN, "in phase written: " + "the static network does not validate " * 4,
              at=now - 3 * MINUTE),
        slot=replace(long.slot, rack="row-B-rack12", chassis="ch3", blade=14, role="kubernetes-control-plane",
                     cluster="production-frankfurt-2"),
        vendor="Supermicro", model="SYS-6029P-TR", serial="S341524X0A12345", firmware="uefi-x64",
        labels={"owner": "storage team", "asset": "2024-000-117", "pdu": "b12/left/17"},
    )  # fmt: skip
    quarantined = bare("odd-quarantined", 41, State.QUARANTINED)
    return [
        long,
        replace(quarantined, state_at=now - 9 * MINUTE,
                state_reason="its serial is S0007, but S0001 is listed for this MAC: was the board replaced?"),
        replace(bare("server-525400aa0001", 42, State.NEW), addresses=(), approved=False, state_at=now - MINUTE,
                state_reason="seen by DHCP, PXE on eth1"),
        replace(bare("old-one", 43, State.RETIRED), state_at=now - 90 * 24 * 60 * MINUTE, state_reason="retired"),
        ended(bare("with-bmc", 44), State.ACTIVE, Phase.ACTIVE, "the installed system reported in",
              at=now - 30 * SECOND),
        ended(bare("rebooting", 45), State.INSTALLED, Phase.REBOOT, "install complete", at=now - 20 * MINUTE),
        installing(bare("never-came", 46), None, quiet=45 * MINUTE, now=now),
        installing(bare("just-began", 47), Phase.FIRMWARE, quiet=SECOND, now=now),
        bare("waiting", 48),
    ]  # fmt: skip


def fill_odd(store: Store, machines: list[Machine]) -> None:
    """With a BMC behind those that have hardware, and one of them without a login."""
    bmcs = [Bmc(uuid4(), f"10.12.0.{17 + number}", protocol="redfish", chassis="ch3") for number in range(3)]
    with store.transaction("test") as tx:
        for bmc in bmcs:
            tx.bmcs.put(bmc)
    known = dict(zip((machines[0].name, "with-bmc", "never-came"), bmcs, strict=True))
    fill(store, [replace(m, bmc_id=known[m.name].id) if m.name in known else m for m in machines])


WITHOUT_SCRIPTS = (
    _plain("no-script", "/"),
    _plain("no-script-drawer", "/machines/w002"),
    _plain("no-script-next", "/?page=2"),
)

AWAY = (_plain("away", "/machines/w001"),)


@dataclass(frozen=True)
class Set:
    """Scenes that share an appliance. ``scripts`` False: a browser without any. ``away``: so is the database."""

    scenes: Sequence[Scene]
    fleet: Callable[[int], list[Machine]]
    filling: Callable[[Store, list[Machine]], object] = fill
    fittings: Callable[[Path], dict[str, Any]] = lambda folder: {}
    scripts: bool = True
    away: bool = False

    def fitted(self, folder: Path) -> dict[str, Any]:
        """The wire in the top bar, too."""
        return {"wires": (("eth1", IPv4Address("10.12.0.1")),), **self.fittings(folder)}


def _troubled(folder: Path) -> dict[str, Any]:
    checkup = Checkup(lambda deep: FINDINGS, utc_microseconds)
    checkup.look(deep=True)
    file = folder / "packets.prom"
    file.write_text(METRICS)
    return {"checkup": checkup, "packets_metrics": file}


SETS = {
    "empty": Set(EMPTY, lambda now: []),
    "three": Set(THREE, lambda now: list(night(3, now))),
    "trouble": Set(TROUBLE, lambda now: list(night(3, now)), fittings=_troubled),
    "hundreds": Set(HUNDREDS, lambda now: list(night(300, now))),
    "odd": Set(ODD, odd, fill_odd),
    "no-script": Set(WITHOUT_SCRIPTS, lambda now: list(night(230, now)), scripts=False),
    "away": Set(AWAY, lambda now: list(night(30, now)), away=True),
}
