"""Netboot images: what there is, who uses it, and fetching, importing or verifying as a job with progress."""

from datetime import datetime
from typing import Literal

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import images
from provisioner.images.store import Image
from provisioner.web.api import jobs
from provisioner.web.api.jobs import JobOut
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.api.times import moment
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class FileOut(BaseModel):
    """``url``: a path on the images port (8081)."""

    name: str
    size: int
    sha256: str
    url: str


class ImageOut(BaseModel):
    """``problems`` empty: complete. ``verified_at`` null: not read through since it was changed."""

    name: str
    version: str
    size: int
    problems: list[str]
    verified_at: datetime | None
    used_by: list[str]
    files: list[FileOut]


class FetchWish(BaseModel):
    """``version`` empty: the newest of the stream; ``name`` empty: the publisher's."""

    model_config = ConfigDict(extra="forbid")

    publisher: Literal["flatcar", "fedora-coreos"]
    stream: str = Field(default="stable", max_length=64)
    version: str = Field(default="", max_length=128)
    name: str = Field(default="", max_length=128)
    arch: str = Field(default="amd64", pattern="^(amd64|arm64)$")


class ImportWish(BaseModel):
    """``source``: a release's folder or a bundle in the appliance's folder for imports (``DATA_DIR/incoming``).

    A bundle has names of its own; ``trust``: fingerprints of appliances whose bundles are believed this time.
    """

    model_config = ConfigDict(extra="forbid")

    source: str = Field(max_length=128)
    name: str = Field(default="", max_length=128)
    version: str = Field(default="", max_length=128)
    trust: list[str] = Field(default=[], max_length=16)


class Images:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 100) -> Page[ImageOut]:
        """All versions of all images."""
        parts = self._parts
        found = images.listed(parts.images.store.list(), parts.snapshot.inventory, parts.role_images())
        return cut(found, lambda each: f"{each[0].name} {each[0].version}", after, limit, lambda each: shown(*each))

    def one(self, name: str, version: str) -> ImageOut:
        """One version."""
        parts = self._parts
        image, versions = parts.images.store.get(name, version), parts.images.versions(name)
        return shown(image, images.used_by(parts.snapshot.inventory, parts.role_images(), name, version, versions))

    def fetch(self, wish: FetchWish, request: Request, response: Response) -> JobOut:
        """From its publisher, by the images service; listed when signatures and digests are good."""
        job = images.enqueue_fetch(
            self._parts.store, **wish.model_dump(), actor=actor(request), now=self._parts.clock()
        )
        return jobs.accepted(response, job)

    def bring_in(self, wish: ImportWish, request: Request, response: Response) -> JobOut:
        """From the folder for imports, by the images service; all of it or nothing."""
        parts = self._parts
        job = images.enqueue_import(
            parts.store, parts.images, **wish.model_dump(), actor=actor(request), now=parts.clock()
        )
        return jobs.accepted(response, job)

    def verify(self, name: str, version: str, request: Request, response: Response) -> JobOut:
        """Read every byte again, by the images service."""
        parts = self._parts
        job = images.enqueue_verify(
            parts.store, parts.images, name, version, actor=actor(request), now=parts.clock()
        )
        return jobs.accepted(response, job)

    def remove(self, name: str, version: str, request: Request, force: bool = False) -> None:
        """Refused while an open install uses it or, without ``force``, a role; running downloads finish."""
        parts = self._parts
        images.remove(
            parts.store,
            parts.images,
            parts.role_images(),
            name,
            version,
            actor=actor(request),
            now=parts.clock(),
            force=force,
        )


def shown(image: Image, users: list[str]) -> ImageOut:
    return ImageOut(
        name=image.name,
        version=image.version,
        size=image.size,
        problems=list(image.problems),
        verified_at=moment(image.verified_at) if image.verified_at else None,
        used_by=users,
        files=[
            FileOut(
                name=file.name,
                size=file.size,
                sha256=file.sha256,
                url=f"/images/{image.name}/{image.version}/{file.name}",
            )
            for file in image.files
        ],
    )
