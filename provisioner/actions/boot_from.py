"""What machines start from: the boot device, and images in the virtual drives that their BMCs lend them."""

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from provisioner.actions.power import queued, with_bmc
from provisioner.domain.bmc import Bmc, BootDevice, Drive, Login
from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.domain.machine import Machine
from provisioner.domain.ports import BmcPort, Store
from provisioner.domain.records import Job

_PAYLOAD = "http://@@SERVER@@:8081/payload/"
"""The placeholder is filled with our address as the BMC reaches it."""
_LONGEST_URL = 1000


def enqueue_boot(
    store: Store, refs: Sequence[str], device: str, *, actor: str, now: int, always: bool = False
) -> Job:
    """Have the BMCs of machines start them from ``device``, the next time or ``always``; switches no power.

    Raises InvalidValue, NotFound, Refused (no BMC).
    """
    if device not in tuple(BootDevice):
        raise InvalidValue("device", device, "is not known", f"choose one of {', '.join(BootDevice)}")
    with store.transaction(actor) as tx:
        ids = list(dict.fromkeys(str(with_bmc(tx, ref).id) for ref in refs))
        return queued(tx, "boot-device", {"machines": ids, "device": device, "always": always}, len(ids), now)


def enqueue_media(
    store: Store,
    refs: Sequence[str],
    image: str | None,
    payload: Collection[str],
    *,
    actor: str,
    now: int,
    boot: bool = False,
) -> Job:
    """Have ``image`` in a virtual drive of each machine: a URL, or the path of a payload file; '' takes out what is
    there, None only looks. ``boot``: the next start is from it.

    Raises InvalidValue, NotFound, Refused (no BMC).
    """
    url = image_url(image, payload) if image else image
    if boot and not url:
        raise InvalidValue("boot", boot, "is asked for without an image", "name the image")
    with store.transaction(actor) as tx:
        ids = list(dict.fromkeys(str(with_bmc(tx, ref).id) for ref in refs))
        return queued(tx, "media", {"machines": ids, "image": url, "boot": boot}, len(ids), now)


def image_url(image: str, payload: Collection[str]) -> str:
    """Where a BMC fetches it. Raises InvalidValue, NotFound."""
    if "://" not in image:
        path = image.removeprefix("/").removeprefix("payload/")
        if path not in payload:
            raise NotFound("payload", path, f"`provisioner payload add FILE --path {path}`, or give a URL")
        return _PAYLOAD + quote(path)
    remedy = "give a URL like http://10.12.1.2:8081/payload/rescue.iso, or the path of a payload file"
    try:
        parts = urlsplit(image)
    except ValueError:
        raise InvalidValue("image", image[:100], "is no URL", remedy) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(image) > _LONGEST_URL:
        raise InvalidValue("image", image[:100], "is no HTTP URL", remedy)
    if not image.isascii() or not image.isprintable() or " " in image:
        raise InvalidValue("image", image[:100], "has characters that a URL cannot have", "write them as %20")
    if parts.username or parts.password:
        # It would stand in jobs, on the timeline, and in the BMC's own log.
        where = f"{parts.scheme}://…@{parts.hostname}{parts.path}"
        raise InvalidValue("image", where, "carries a login", "serve it without one, or add it as payload")
    return image


def set_device(port: BmcPort, job: Job, machine: Machine, bmc: Bmc, login: Login) -> str:
    """Carry out one machine's part of a boot-device job."""
    device = BootDevice(job.args["device"])
    always = bool(job.args.get("always", device is BootDevice.DISK))
    port.set_boot_device(bmc, login, device, persistent=always, uefi=machine.firmware.startswith("uefi"))
    return f"BMC {bmc.address}: boot device set to {device}, {'from now on' if always else 'once'}"


def change_media(port: BmcPort, job: Job, machine: Machine, bmc: Bmc, login: Login) -> tuple[str, dict[str, Any]]:
    """Carry out one machine's part of a media job: the sentence, and the drives as they are then."""
    drives = port.drives(bmc, login, job.args["image"])
    said = f"BMC {bmc.address}: {'; '.join(map(_spoken, drives))}"
    if job.args["boot"]:
        port.set_boot_device(bmc, login, BootDevice.CD, uefi=machine.firmware.startswith("uefi"))
        said += "; boots from it once"
    return said, {"drives": [{"name": d.name, "kinds": list(d.kinds), "image": d.image} for d in drives]}


def _spoken(drive: Drive) -> str:
    return f"drive {drive.name} ({', '.join(drive.kinds) or 'kind not told'}) {drive.image or 'empty'}"
