"""A release from its publisher into the store: planned, downloaded, proven, and only then listed."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.images.download import Downloads, Progress
from provisioner.images.intake import check_name
from provisioner.images.publishers import DEFAULT_STREAM, Wanted, plan
from provisioner.images.signature import Keyring
from provisioner.images.store import Image, ImageStore


@dataclass(frozen=True, slots=True)
class Source:
    """Where a publisher is reached, and by which keys its files are believed."""

    url: str
    """May hold ``{stream}``."""
    keyring: Path | None = None
    fingerprints: tuple[str, ...] = ()


class Fetcher:
    """Fetches releases into a store. ``sources`` by the publisher's name."""

    def __init__(
        self,
        store: ImageStore,
        sources: Mapping[str, Source],
        open_downloads: Callable[[Progress], Downloads] = Downloads,
    ) -> None:
        self._store = store
        self._sources = sources
        self._open_downloads = open_downloads

    def fetch(
        self,
        publisher: str,
        *,
        name: str = "",
        stream: str = DEFAULT_STREAM,
        version: str = "",
        arch: str = "amd64",
        keyring: Path | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> Image:
        """Fetch and publish. ``version`` empty: the newest; ``name``: default the publisher's.

        A version that is there already and whole is left as it is. Raises Refused with the remedy; what has
        arrived is kept for the next call.
        """
        source = self._sources.get(publisher)
        if source is None:
            known = ", ".join(self._sources)
            raise InvalidValue("publisher", publisher, "is not known", f"choose one of {known}, or `image import`")
        trusted = keyring or source.keyring
        if trusted is None:
            raise Refused(
                f"no key of {publisher} is given, so nothing it publishes could be believed",
                f"get the publisher's public key, compare its fingerprint, and give it: --keyring FILE, or "
                f"images.sources.{publisher.replace('-', '_')}.keyring in the settings",
            )
        keys = Keyring(trusted, source.fingerprints)
        name = name or publisher
        check_name("name", name)
        with self._open_downloads(progress) as downloads:
            release = plan(publisher, source.url, stream, version, arch, downloads.get)
            if release.version in self._store.versions(name):
                there = self._store.get(name, release.version)
                if there.complete:
                    return there
            with self._folder(name, release.version) as folder:
                downloads.fetch(release.files, folder)
                faults = [fault for file in release.files if (fault := _fault(file, folder, keys)) is not None]
                if faults:
                    raise faults[0]
                return self._store.take(folder, name, release.version)

    @contextmanager
    def _folder(self, name: str, version: str) -> Iterator[Path]:
        """Where parts are kept between attempts; one fetch of a version at a time."""
        folder = self._store.root / f".fetching-{name}@{version}"
        folder.mkdir(exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Refused(f"{name} {version} is being fetched already", "wait for that one") from error
            yield folder
            shutil.rmtree(folder)
        finally:
            os.close(lock)


def _fault(file: Wanted, folder: Path, keys: Keyring) -> InvalidValue | None:
    """What digest or signature say against it; such a file is deleted, so that the next attempt fetches it anew."""
    path = folder / file.name
    try:
        if file.sha256:
            _check_digest(path, file.sha256)
        if file.signed_by:
            keys.check(path, folder / file.signed_by)
    except InvalidValue as fault:
        path.unlink()
        if file.signed_by:
            (folder / file.signed_by).unlink(missing_ok=True)
        return fault
    return None


def _check_digest(path: Path, published: str) -> None:
    with path.open("rb") as reader:
        actual = hashlib.file_digest(reader, "sha256").hexdigest()
    if actual != published:
        raise InvalidValue(
            "file",
            path.name,
            f"has sha256 {actual[:16]}…, but {published[:16]}… was published",
            "run it again; if it stays so, the mirror or proxy is wrong",
        )
