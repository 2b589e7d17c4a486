"""Supermicro MicroBlade's chassis manager: one address tells all its blades.

Written from what Yoo-Installer read (``GET /cgi/ipmi.cgi?GET_NODE_MB_INFO.XML=(N,0)``: root ``IPMI``, elements
``MBInfo`` with ``BMCIP``, ``mac1``, ``mac2``), not from a capture. Login as in Supermicro's web interface: a form
that answers with a session cookie.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from provisioner.bmc import https
from provisioner.bmc.https import Door
from provisioner.bmc.session import Target
from provisioner.domain.bmc import Blade, BootDevice, Chassis, Condition, Drive, Identity, Power, Presence
from provisioner.domain.errors import BmcError, InvalidValue
from provisioner.domain.mac import Mac

_CHASSIS = re.compile(rb"MicroBlade|SuperBlade|Chassis Manage|\bCMM\b", re.IGNORECASE)
PLACES = range(30)
"""N of the query: 28 blades and the two that double-width ones hide."""


@contextmanager
def opened(target: Target) -> Iterator["Cmm"]:
    """Logged in; logged out afterwards. Raises BmcError."""
    with https.opened(target) as door:
        form = urlencode({"name": target.user, "pwd": target.password}).encode()
        answer = door.ask(
            "POST",
            "/cgi/login.cgi",
            content=form,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        if answer.status_code in (401, 403) or not cookie.partition("=")[2]:
            raise BmcError(
                "wrong-password",
                f"chassis manager {target.address} refuses the login of {target.user}",
                "correct the credential with `provisioner bmc add`; it is not tried again",
            )
        door.headers["Cookie"] = cookie
        try:
            yield Cmm(door)
        finally:
            with suppress(BmcError):  # it times out by itself
                door.ask("GET", "/cgi/logout.cgi")


def recognised(target: Target) -> Presence | None:
    """A chassis manager by its login page; None: none that is known.

    Supermicro's servers have the same form: the page must say, too, that it is a chassis'.
    """
    with https.opened(target) as door:
        try:
            page = door.ask("GET", "/")
        except BmcError:
            return None
        if not page.is_success or b"/cgi/login.cgi" not in page.content or not _CHASSIS.search(page.content):
            return None
        return Presence(target.address, ("cmm",), "Supermicro", "blade chassis", door.certificate)


class Cmm:
    """Implements ``session.Session`` for a chassis: it has blades, no power of its own."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def identify(self) -> Identity:
        raise self._no_server("who it is")

    def power(self, operation: Power) -> Power:
        raise self._no_server(f"power {operation}")

    def set_boot_device(self, device: BootDevice, *, persistent: bool, uefi: bool) -> None:
        raise self._no_server(f"boot from {device}")

    def condition(self) -> Condition:
        raise self._no_server("how it is")

    def drives(self, image: str | None) -> list[Drive]:
        raise self._no_server("virtual media")

    def chassis(self) -> Chassis:
        """All blades that are there, in the order of their places (from 1)."""
        found: list[Blade] = []
        for place in PLACES:
            query = quote(f"({place},0)")
            path = f"/cgi/ipmi.cgi?GET_NODE_MB_INFO.XML={query}&time_stamp={int(time.time())}"
            answer = self._door.ask("GET", path)
            if not answer.is_success:
                raise BmcError(
                    "unsupported",
                    f"chassis manager {self._door.target.address} answers {answer.status_code} for blade {place}",
                    "check that it is a MicroBlade's",
                )
            blade = read_blade(answer.content, place + 1, self._door.target.address)
            # Without a BMC and MACs the place is empty.
            if blade.bmc or blade.macs:
                found.append(blade)
        return Chassis(tuple(found), self._door.certificate)

    def _no_server(self, what: str) -> BmcError:
        return BmcError(
            "unsupported",
            f"{self._door.target.address} is a chassis manager: it has no {what}",
            "`provisioner bmc harvest` lists its blades; ask their own BMCs",
        )


def read_blade(data: bytes, number: int, chassis: str) -> Blade:
    """One answer. Raises BmcError for what is no such XML, entity tricks included."""
    garbage = BmcError("garbage", f"chassis manager {chassis} sent no blade list for place {number}", "update it")
    if b"<!" in data.replace(b"<!--", b""):
        raise garbage
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - declarations, and so entities, are refused above
    except ElementTree.ParseError:
        raise garbage from None
    if root.tag != "IPMI":
        raise garbage
    info = root.find(".//MBInfo")
    told = {} if info is None else info.attrib
    macs: list[Mac] = []
    notes: list[str] = []
    for name in ("mac1", "mac2"):
        text = told.get(name, "").strip()
        if not text.strip("0:- "):
            continue
        try:
            mac = Mac.parse(text)
        except InvalidValue as refused:
            notes.append(f"{name} left out: {refused.problem}")
            continue
        if mac not in macs:
            macs.append(mac)
    bmc = told.get("BMCIP", "").strip()
    return Blade(number, "" if bmc in ("0.0.0.0", "::") else bmc, tuple(macs), tuple(notes))  # noqa: S104
