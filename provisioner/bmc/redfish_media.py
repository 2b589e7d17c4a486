"""Virtual media over Redfish (DSP2046, VirtualMedia): an image by its URL in a drive that the BMC lends its server.

The drives hang on the system or, on older services, on its manager; insertion is an action or an edit of the
resource. A BMC fetches the image itself, so it is a URL that the BMC can reach.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from provisioner.bmc.https import Door, path_of
from provisioner.bmc.redfish_macs import Fetch, link, members
from provisioner.domain.bmc import Drive
from provisioner.domain.errors import BmcError

_POLL = 1.0
"""Seconds between looks at a drive; the caller's deadline ends a wait for an image that never comes."""
_STICKS = (".img", ".raw")
"""Images that are no CD."""
_FAILED = ("Exception", "Killed", "Cancelled")
"""TaskState of a task that will not end well (DSP2046, Task)."""

Done = Callable[[httpx.Response, str], None]
"""Raises BmcError for an answer that says no; takes the path for its words."""


class Media:
    """The drives behind one BMC."""

    def __init__(self, door: Door, fetch: Fetch, done: Done, sleep: Callable[[float], None] = time.sleep) -> None:
        self._door = door
        self._fetch = fetch
        self._done = done
        self._sleep = sleep

    def drives(self, root: Mapping[str, Any], system: Mapping[str, Any], image: str | None) -> list[Drive]:
        """All of them, after ``image`` is done (see ``session``). Raises BmcError."""
        found = list(self._found(root, system))
        if not found:
            raise BmcError(
                "unsupported",
                f"BMC {self._door.target.address} has no virtual media",
                "boot from the network instead; some BMCs want a licence for it",
            )
        if image:
            self._insert(found, image)
        elif image is not None:
            for drive in filter(_holds, found):
                self._eject(drive)
        return [_told(self._fetch(link(drive)) or drive) for drive in found]

    def _found(self, root: Mapping[str, Any], system: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        listed = list(members(system.get("VirtualMedia"), self._fetch))
        for manager in () if listed else members(root.get("Managers"), self._fetch):
            listed += members(manager.get("VirtualMedia"), self._fetch)
        yield from (drive for drive in listed if link(drive))

    def _insert(self, found: list[Mapping[str, Any]], image: str) -> None:
        drive = self._for(found, image)
        if str(drive.get("Image")) == image and _holds(drive):
            return
        if _holds(drive):
            self._eject(drive)
        path = link(drive)
        if target := _action(drive, "#VirtualMedia.InsertMedia"):
            answer = self._door.json("POST", target, {"Image": image})
            if answer.status_code == 400:
                # Some boards must be told what others do not want to hear of.
                scheme = image.partition(":")[0].upper()
                more = {"TransferProtocolType": scheme, "TransferMethod": "Stream"}
                answer = self._door.json("POST", target, {"Image": image, **more})
        else:
            answer = self._edit(drive, {"Image": image, "Inserted": True, "WriteProtected": True})
        self._done(answer, target or path)
        task = path_of(answer.headers.get("location", "")) if answer.status_code == 202 else ""
        while not _holds(self._fetch(path) or {}):
            self._look_at(task, image)
            self._sleep(_POLL)

    def _eject(self, drive: Mapping[str, Any]) -> None:
        path = link(drive)
        if target := _action(drive, "#VirtualMedia.EjectMedia"):
            answer = self._door.json("POST", target, {})
        else:
            answer = self._edit(drive, {"Image": None, "Inserted": False})
        self._done(answer, target or path)
        while _holds(self._fetch(path) or {}):
            self._sleep(_POLL)

    def _edit(self, drive: Mapping[str, Any], fields: Mapping[str, Any]) -> httpx.Response:
        tag = drive.get("@odata.etag")
        headers = {"If-Match": tag} if isinstance(tag, str) else {}
        return self._door.json("PATCH", link(drive), fields, **headers)

    def _for(self, found: list[Mapping[str, Any]], image: str) -> Mapping[str, Any]:
        """The drive for this image; one that holds it already first, then an empty one."""
        stick = image.lower().endswith(_STICKS)
        kinds = {"USBStick"} if stick else {"CD", "DVD"}
        fitting = [drive for drive in found if kinds & set(_kinds(drive))]
        if not fitting:
            offered = ", ".join(sorted({kind for drive in found for kind in _kinds(drive)})) or "none that it names"
            raise BmcError(
                "unsupported",
                f"BMC {self._door.target.address} has no virtual {'USB stick' if stick else 'CD'}; "
                f"its drives take {offered}",
                "give an image of that kind, or boot from the network",
            )
        return min(fitting, key=lambda drive: (drive.get("Image") != image, _holds(drive)))

    def _look_at(self, task: str, image: str) -> None:
        """Raises BmcError once the BMC's task has failed."""
        told = (self._fetch(task) or {}) if task else {}
        if told.get("TaskState") in _FAILED:
            messages = told.get("Messages")
            words = (
                [m.get("Message") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
            )
            said = "; ".join(str(word)[:200] for word in words if word) or str(told["TaskState"])
            raise BmcError(
                "unsupported",
                f"BMC {self._door.target.address} cannot insert {image}: {said}",
                "check that the BMC reaches this URL",
            )


def _kinds(drive: Mapping[str, Any]) -> tuple[str, ...]:
    kinds = drive.get("MediaTypes")
    return tuple(map(str, kinds)) if isinstance(kinds, list) else ()


def _holds(drive: Mapping[str, Any]) -> bool:
    """``Inserted`` where it is told; older boards tell the image only."""
    inserted = drive.get("Inserted")
    return inserted if isinstance(inserted, bool) else bool(drive.get("Image"))


def _told(drive: Mapping[str, Any]) -> Drive:
    name = drive.get("Id") or drive.get("Name") or ""
    image = str(drive.get("Image") or drive.get("ImageName") or "something") if _holds(drive) else ""
    return Drive(str(name), _kinds(drive), image)


def _action(drive: Mapping[str, Any], name: str) -> str:
    actions = drive.get("Actions")
    action = actions.get(name) if isinstance(actions, Mapping) else None
    target = action.get("target") if isinstance(action, Mapping) else None
    return target if isinstance(target, str) else ""
