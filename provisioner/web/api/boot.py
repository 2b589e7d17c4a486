"""What machines start from: boot device and virtual media, as their BMCs are told."""

from fastapi import Request, Response

from provisioner.actions import boot_from
from provisioner.web.api import jobs
from provisioner.web.api.jobs import JobOut
from provisioner.web.api.wishes import BootWish, MediaWish
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class Boot:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def device(self, ref: str, wish: BootWish, request: Request, response: Response) -> JobOut:
        """Have the BMC start the machine from this device."""
        job = boot_from.enqueue_boot(
            self._parts.store,
            [ref],
            wish.device,
            actor=actor(request),
            now=self._parts.clock(),
            always=wish.always,
        )
        return jobs.accepted(response, job)

    def media(self, ref: str, wish: MediaWish, request: Request, response: Response) -> JobOut:
        """Put an image into the BMC's virtual drive (Redfish), take it out, or look; the result has the drives."""
        job = boot_from.enqueue_media(
            self._parts.store,
            [ref],
            wish.image,
            self._parts.payload(),
            actor=actor(request),
            now=self._parts.clock(),
            boot=wish.boot,
        )
        return jobs.accepted(response, job)
