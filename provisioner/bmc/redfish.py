"""Redfish (DMTF DSP0266) over pinned HTTPS: identity, power, boot device, sensors, virtual media.

A session where the BMC has them (closed afterwards, BMCs have a handful), else HTTP basic authentication.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx

from provisioner.bmc import fru, https, redfish_media, redfish_sensors
from provisioner.bmc.https import Door
from provisioner.bmc.redfish_macs import host_macs, link, managers_macs, members
from provisioner.bmc.session import Target
from provisioner.domain.bmc import BootDevice, Chassis, Condition, Drive, Identity, Power, Presence
from provisioner.domain.errors import BmcError

ROOT = "/redfish/v1/"
_POLL = 1.0
"""Seconds between looks at the power state."""
_MOST_RESOURCES = 200
"""Read for one identity; a BMC whose links never end must not keep a worker busy."""
_RESETS = {
    Power.ON: ("On", "ForceOn"),
    Power.OFF: ("ForceOff", "PushPowerButton"),
    Power.RESET: ("ForceRestart", "GracefulRestart"),
}
"""ResetType values, the preferred first (DSP2046, Resource.ResetType)."""
_TARGETS = {
    BootDevice.NETWORK: ("Pxe", "UefiHttp"),
    BootDevice.DISK: ("Hdd",),
    BootDevice.CD: ("Cd",),
    BootDevice.SETUP: ("BiosSetup",),
    BootDevice.DEFAULT: ("None",),
}
"""BootSourceOverrideTarget values, the preferred first."""
_USB_CD = "UsbCd"
"""What Supermicro's boards call the virtual drive; they offer Cd, too, and do not boot from it (sushy knows it)."""


@contextmanager
def opened(target: Target) -> Iterator["Redfish"]:
    """Logged in; logged out afterwards. Raises BmcError."""
    with https.opened(target) as door:
        root = _document(door, door.json("GET", ROOT), ROOT)
        if "RedfishVersion" not in root and "Systems" not in root:
            raise BmcError(
                "garbage", f"BMC {target.address} has no Redfish service root", "choose another protocol"
            )
        ours = _login(door, root)
        try:
            yield Redfish(door, root)
        finally:
            if ours:
                with suppress(BmcError):  # it times out by itself
                    door.json("DELETE", ours)


def recognised(target: Target) -> Presence | None:
    """What the service root tells, which needs no login (DSP0266 §6.2); None: no Redfish there.

    The vendor is ``Vendor`` since version 1.5, else the Oem's key.
    """
    with https.opened(target) as door:
        try:
            root = _document(door, door.json("GET", ROOT), ROOT)
        except BmcError:
            return None
        if "RedfishVersion" not in root:
            return None
        oem = root.get("Oem")
        named = next(iter(oem), "") if isinstance(oem, Mapping) else ""
        vendor, model = fru.text(root.get("Vendor")) or fru.text(named), fru.text(root.get("Product"))
        return Presence(target.address, ("redfish",), vendor, model, door.certificate)


def _login(door: Door, root: Mapping[str, Any]) -> str:
    """Log in; the session's path, empty for basic authentication."""
    links = root.get("Links") or root.get("links")
    path = link(links.get("Sessions")) if isinstance(links, Mapping) else ""
    target = door.target
    if not path:
        # No sessions there: a login at an address that does not exist would be refused, and count as a failure.
        return _basic(door)
    answer = door.json("POST", path, {"UserName": target.user, "Password": target.password})
    if b"SessionLimitExceeded" in answer.content or answer.status_code == 503:
        raise BmcError(
            "session-limit",
            f"BMC {target.address} has no session left",
            "wait for old sessions to end, or close them in the BMC",
        )
    # iLO refuses a login with 400. It is not tried another way: accounts lock after a few failures.
    if answer.status_code in (400, 401, 403):
        raise BmcError(
            "wrong-password",
            f"BMC {target.address} refuses the login of {target.user}",
            "correct the credential with `provisioner bmc add`; it is not tried again",
        )
    token = answer.headers.get("x-auth-token", "")
    if answer.is_success and token:
        door.headers["X-Auth-Token"] = token
        return https.path_of(answer.headers.get("location", ""))
    if answer.status_code not in (404, 405, 501):
        _document(door, answer, path)
    return _basic(door)


def _basic(door: Door) -> str:
    """Log in with each request from now on."""
    word = base64.b64encode(f"{door.target.user}:{door.target.password}".encode()).decode()
    door.headers["Authorization"] = f"Basic {word}"
    return ""


def _document(door: Door, answer: httpx.Response, path: str) -> Mapping[str, Any]:
    where = f"BMC {door.target.address}"
    if answer.status_code == 401:
        raise BmcError(
            "wrong-password",
            f"{where} refuses the login of {door.target.user}",
            "correct the credential with `provisioner bmc add`; it is not tried again",
        )
    if answer.status_code == 403:
        raise BmcError(
            "privilege-too-low", f"{where} does not let {door.target.user} see {path}", "give this user more rights"
        )
    if answer.status_code in (404, 405, 501):
        raise BmcError("unsupported", f"{where} has no {path}", "this BMC cannot do that; do it by hand")
    if answer.status_code >= 500:
        raise BmcError("unreachable", f"{where} fails at {path} ({answer.status_code})", "wait, then try again")
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not answer.is_success or not isinstance(document, dict):
        raise BmcError(
            "garbage", f"{where} answers {path} with {answer.status_code} and no Redfish", "restart or update it"
        )
    return document


class Redfish:
    """Implements ``session.Session``."""

    def __init__(self, door: Door, root: Mapping[str, Any], sleep: Callable[[float], None] = time.sleep) -> None:
        self._door = door
        self._root = root
        self._sleep = sleep
        self._read = 0
        self._notes: list[str] = []

    def identify(self) -> Identity:
        """What can be read; what cannot is a note."""
        _, system = self._system()
        own = managers_macs(self._root, self._fetch)
        macs, notes = host_macs(system, self._fetch, own)
        uuid, noted = _uuid(system.get("UUID"))
        return Identity(
            vendor=fru.text(system.get("Manufacturer")),
            model=fru.text(system.get("Model")),
            serial=fru.text(system.get("SerialNumber")) or fru.text(system.get("SKU")),
            uuid=uuid,
            macs=tuple(macs),
            notes=(*self._notes, *noted, *notes),
            certificate=self._door.certificate,
        )

    def power(self, operation: Power) -> Power:
        """Carry it out and wait until it shows; the caller's deadline ends a wait that never does."""
        path, system = self._system()
        state = _power_state(system)
        match operation:
            case Power.STATUS:
                return state
            case Power.CYCLE:
                # In two steps: a BMC's own cycle shows "On" before, while and after it works.
                if state is Power.ON:
                    self._switch(path, system, Power.OFF)
                    self._sleep(_POLL)
                return self._switch(path, system, Power.ON)
            case Power.RESET:
                if state is Power.OFF:
                    raise BmcError("unsupported", "a server that is off cannot be reset", "power it on instead")
                self._reset(system, Power.RESET)
                return _power_state(self._get(path))
            case _:
                return state if state is operation else self._switch(path, system, operation)

    def set_boot_device(self, device: BootDevice, *, persistent: bool, uefi: bool) -> None:
        path, system = self._system()
        boot = system.get("Boot")
        boot = boot if isinstance(boot, Mapping) else {}
        allowed = boot.get("BootSourceOverrideTarget@Redfish.AllowableValues")
        targets = _TARGETS[device]
        if device is BootDevice.CD and isinstance(allowed, list) and _USB_CD in allowed:
            targets = (_USB_CD,)
        wanted = _chosen(targets, allowed, f"BMC {self._door.target.address} cannot boot from {device}")
        enabled = "Disabled" if device is BootDevice.DEFAULT else "Continuous" if persistent else "Once"
        override = {"BootSourceOverrideTarget": wanted, "BootSourceOverrideEnabled": enabled}
        mode = {"BootSourceOverrideMode": "UEFI" if uefi else "Legacy"}
        # If-Match: some BMCs (XCC, iLO) refuse an edit without the ETag they gave.
        tag = system.get("@odata.etag")
        headers = {"If-Match": tag} if isinstance(tag, str) else {}
        answer = self._door.json("PATCH", path, {"Boot": override | mode}, **headers)
        if answer.status_code == 400:
            # BIOS-only and UEFI-only boards refuse to hear of a mode.
            answer = self._door.json("PATCH", path, {"Boot": override}, **headers)
        self._done(answer, path)

    def condition(self) -> Condition:
        """The system's own word, and its chassis' sensors."""
        _, system = self._system()
        health, readings = redfish_sensors.condition(system, self._fetch)
        return Condition(health, tuple(readings), tuple(self._notes))

    def drives(self, image: str | None) -> list[Drive]:
        _, system = self._system()
        media = redfish_media.Media(self._door, self._get_if_there, self._done, self._sleep)
        return media.drives(self._root, system, image)

    def chassis(self) -> Chassis:
        raise BmcError("unsupported", "a Redfish BMC is one server's", "list a chassis manager as protocol cmm")

    def _system(self) -> tuple[str, Mapping[str, Any]]:
        systems = list(members(self._root.get("Systems"), self._get_if_there))
        if not systems:
            raise BmcError(
                "unsupported", f"BMC {self._door.target.address} lists no system", "restart or update it"
            )
        if len(systems) > 1:
            self._notes.append(f"{len(systems)} systems behind this BMC; the first is taken")
        return link(systems[0]) or "", systems[0]

    def _get(self, path: str) -> Mapping[str, Any]:
        return _document(self._door, self._door.json("GET", path), path)

    def _get_if_there(self, path: str) -> Mapping[str, Any] | None:
        try:
            return self._get(path)
        except BmcError as error:
            if error.kind == "unsupported":
                return None
            raise

    def _fetch(self, path: str) -> Mapping[str, Any] | None:
        """For identity: what is broken is left out with a note, so that one bad resource hides no other."""
        self._read += 1
        if self._read > _MOST_RESOURCES:
            return None
        try:
            return self._get(path)
        except BmcError as error:
            if error.kind != "unsupported":
                self._notes.append(f"{path} left out: {error.problem}")
            return None

    def _switch(self, path: str, system: Mapping[str, Any], wanted: Power) -> Power:
        self._reset(system, wanted)
        while (state := _power_state(self._get(path))) is not wanted:
            self._sleep(_POLL)
        return state

    def _reset(self, system: Mapping[str, Any], operation: Power) -> None:
        actions = system.get("Actions")
        action = actions.get("#ComputerSystem.Reset") if isinstance(actions, Mapping) else None
        target = action.get("target") if isinstance(action, Mapping) else None
        if not isinstance(target, str):
            raise BmcError("unsupported", f"BMC {self._door.target.address} cannot switch power", "do it by hand")
        assert isinstance(action, Mapping)  # noqa: S101 - it has a target
        allowed = action.get("ResetType@Redfish.AllowableValues")
        kind = _chosen(_RESETS[operation], allowed, f"BMC {self._door.target.address} cannot power {operation}")
        self._done(self._door.json("POST", target, {"ResetType": kind}), target)

    def _done(self, answer: httpx.Response, path: str) -> None:
        if answer.is_success:
            return
        if answer.status_code == 409:
            raise BmcError("unreachable", f"BMC {self._door.target.address} is busy", "wait a little, try again")
        if answer.status_code in (400, 412):
            said = answer.text[:200].replace("\n", " ")
            raise BmcError(
                "unsupported", f"BMC {self._door.target.address} refuses {path}: {said}", "look at its own log"
            )
        _document(self._door, answer, path)


def _power_state(system: Mapping[str, Any]) -> Power:
    # PoweringOff is still on, PoweringOn still off: a switch has happened when it is over.
    return Power.ON if str(system.get("PowerState")) in ("On", "PoweringOff") else Power.OFF


def _chosen(wanted: tuple[str, ...], allowed: Any, refusal: str) -> str:
    if not isinstance(allowed, list) or not allowed:
        return wanted[0]
    found = next((value for value in wanted if value in allowed), None)
    if found is None:
        raise BmcError("unsupported", f"{refusal}; it offers {', '.join(map(str, allowed))}", "do it by hand")
    return found


def _uuid(value: Any) -> tuple[UUID | None, tuple[str, ...]]:
    try:
        uuid = UUID(str(value))
    except ValueError:
        return None, ("system UUID is missing or unreadable",)
    return (uuid, ()) if uuid.int not in (0, 2**128 - 1) else (None, ("system UUID is blank",))
