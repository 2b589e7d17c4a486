"""Netboot images at rest: ``ROOT/IMAGE/VERSION/FILE`` with the publishers' file names and a ``manifest.json``.

A version is published by one rename and never changed in place, so a reader that has a file open finishes on
the bytes it began with. Everything that is not finished, or is on its way out, lives in hidden folders.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.images.beneath import Missing, Opened, Root
from provisioner.images.intake import MANIFEST, NAME, ImageFile, check_name, checked, copy, read_version, sources
from provisioner.images.layout import DIGEST_FILES, missing_files, published_digests
from provisioner.images.signed import by_debian
from provisioner.images.verified import Verified

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Bytes done, bytes in all; may raise to end the work."""
_UNSEEN: Progress = lambda _done, _size: None  # noqa: E731 - a default
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""renameat2(2): swaps two folders in one step."""
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Image:
    """One version of an image. ``problems`` empty: it can boot and install a machine."""

    name: str
    version: str
    files: tuple[ImageFile, ...]
    problems: tuple[str, ...] = ()
    """What is missing from the publisher's set, or damaged since the import, in words."""
    verified_at: int | None = None
    """When every byte was last read and found as imported, UTC microseconds; None: not known."""

    @property
    def complete(self) -> bool:
        return not self.problems

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, name: str) -> ImageFile | None:
        return next((file for file in self.files if file.name == name), None)


class ImageStore:
    """The images beneath one folder, which is created when it is missing."""

    def __init__(self, root: Path, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """``clock``: UTC microseconds, for what was verified when."""
        self.root = root
        self._clock = clock
        self._verified = Verified(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidValue(
                "images", root, f"cannot be created ({error.strerror})", "correct data_dir or its owner"
            ) from error

    def list(self) -> Sequence[Image]:
        """All images by name, versions in natural order (9 before 10); an unreadable one with its problem."""
        found = []
        for folder in sorted(_visible(self.root), key=lambda entry: entry.name):
            for version in self.versions(folder.name):
                try:
                    found.append(self.get(folder.name, version))
                except NotFound:
                    continue  # Removed since its name was read.
                except Refused as error:
                    found.append(Image(folder.name, version, (), (str(error),)))
        return found

    def versions(self, name: str) -> Sequence[str]:
        """Versions of an image, oldest first; empty if there is none."""
        if not NAME.match(name):
            return []
        found = [entry.name for entry in _visible(self.root / name) if (entry / MANIFEST).is_file()]
        return sorted(found, key=_natural)

    def get(self, name: str, version: str | None = None) -> Image:
        """One version, the newest by default. Raises NotFound, which says what there is."""
        there = self.versions(name)
        if version is None and there:
            version = there[-1]
        if version not in there or version is None:
            raise self._unknown(name, version)
        image = self._read(name, version, lambda root: _inspect(root, name, version))
        return replace(image, verified_at=self._verified.at(name, version))

    def open(self, name: str, version: str, file_name: str) -> tuple[Opened, ImageFile]:
        """A file and its entry, both of the same import; the caller closes it.

        Raises NotFound when the manifest has no such file, Refused when it is not what was imported.
        """
        return self._read(name, version, lambda root: _open(root, name, version, file_name))

    def signed_by_debian(self, name: str, version: str, file_name: str) -> bool:
        """Does this kernel carry Debian's signature, which Debian's shim asks for under Secure Boot?

        Raises as ``open``.
        """
        opened, _ = self.open(name, version, file_name)
        try:
            return by_debian(opened)
        finally:
            opened.close()

    def import_dir(
        self, directory: Path, name: str, version: str | None = None, progress: Progress = _UNSEEN
    ) -> Image:
        """Copy a publisher's files in and publish them at once; a version of the same name is replaced.

        Hashed while copied, checked against the publisher's digests where there are some. ``version`` comes
        from ``version.txt`` when it is not given. Files whose names begin with a dot are left out. Raises
        Refused with file and remedy; then nothing has changed.
        """
        check_name("name", name)
        files_in = sources(directory)
        return self._publish(files_in, name, version or read_version(directory), move=False, progress=progress)

    def import_files(self, files: Sequence[Path], name: str, version: str | None = None) -> Image:
        """As ``import_dir``, for files that lie anywhere."""
        check_name("name", name)
        checked(files)
        found = version or next((read_version(path.parent) for path in files if path.name == "version.txt"), None)
        if found is None:
            raise InvalidValue(
                "version", "version.txt", "is not among the files", "give the version: `--version V`"
            )
        return self._publish(files, name, found, move=False)

    def take(self, directory: Path, name: str, version: str) -> Image:
        """As ``import_dir``, for a folder inside ``root``: its files are moved, not copied."""
        check_name("name", name)
        return self._publish(sources(directory), name, version, move=True)

    def _publish(
        self, files_in: Sequence[Path], name: str, version: str, *, move: bool, progress: Progress = _UNSEEN
    ) -> Image:
        check_name("version", version)
        size, done, taken = sum(path.stat().st_size for path in files_in), 0, []
        digests = published_digests(
            path.read_text(errors="replace") for path in files_in if path.name.endswith(DIGEST_FILES)
        )
        try:
            self._sweep()
            with self._hidden("incoming") as staging:
                for path in files_in:
                    taken.append(copy(path, staging / path.name, digests.get(path.name), move=move))
                    progress(done := done + taken[-1].size, size)
                _write_manifest(staging, name, version, tuple(taken))
                target = self.root / name / version
                target.parent.mkdir(exist_ok=True)
                _put_in_place(staging, target)
                self._verified.record(name, version, self._clock())
        except OSError as error:
            raise Refused(
                f"image {name}/{version} cannot be stored ({error.strerror}: {error.filename or self.root})",
                "free some space or correct the owner of data_dir, then import again",
            ) from error
        return self.get(name, version)

    def verify(
        self,
        name: str,
        version: str | None = None,
        progress: Progress = _UNSEEN,
    ) -> Sequence[str]:
        """Read every byte again; what is wrong, in words. Empty: all as imported, and noted with the time.

        ``progress`` gets the bytes read and the bytes of all files, after each file.
        """
        image = self.get(name, version)
        problems = list(image.problems)
        done = 0
        with self._folder(name, image.version) as root:
            for file in image.files:
                try:
                    opened = root.open(file.name)
                except Refused:
                    continue  # Already among the problems.
                with os.fdopen(opened.fd, "rb", buffering=0) as reader:
                    actual = hashlib.file_digest(reader, "sha256").hexdigest()
                if opened.size == file.size and actual != file.sha256:
                    problems.append(f"{file.name} has sha256 {actual}, was imported with {file.sha256}")
                progress(done := done + file.size, image.size)
        if problems:
            self._verified.forget(name, image.version)
        else:
            self._verified.record(name, image.version, self._clock())
        return problems

    def remove(self, name: str, version: str) -> None:
        """Take a version away; running downloads finish. Raises NotFound."""
        if version not in self.versions(name):
            raise self._unknown(name, version)
        with self._hidden("removed") as grave:
            (self.root / name / version).rename(grave / version)
        self._verified.forget(name, version)
        if not self.versions(name):
            try:
                (self.root / name).rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise

    def _unknown(self, name: str, version: str | None) -> NotFound:
        there = [f"{entry.name}/{known}" for entry in _visible(self.root) for known in self.versions(entry.name)]
        remedy = f"there is: {', '.join(sorted(there))}" if there else "none is imported yet"
        return NotFound(
            "image",
            f"{name}/{version}" if version else name,
            f"{remedy}; `provisioner image import DIR --name {name}`",
        )

    def _read(self, name: str, version: str, read: Callable[[Root], T]) -> T:
        """What ``read`` finds in one import; again if that one was replaced and cleared away meanwhile."""
        while True:
            with self._folder(name, version) as root:
                try:
                    return read(root)
                except Refused:
                    if not root.replaced:
                        raise

    @contextmanager
    def _folder(self, name: str, version: str) -> Iterator[Root]:
        """One version's folder, held open: a swap during the work is not seen."""
        if not (NAME.match(name) and NAME.match(version)):
            raise self._unknown(name, version)
        try:
            root = Root(self.root / name / version)
        except InvalidValue as error:
            raise self._unknown(name, version) from error
        try:
            yield root
        finally:
            root.close()

    def staging(self) -> AbstractContextManager[Path]:
        """A folder inside ``root`` for files that ``take`` is to have; gone afterwards, also after a crash."""
        return self._hidden("incoming")

    @contextmanager
    def _hidden(self, purpose: str) -> Iterator[Path]:
        """A folder beside the images, locked while in use, gone afterwards with all that is in it."""
        folder = self.root / f".{purpose}-{secrets.token_hex(6)}"
        lock = _locked(folder)
        while not folder.exists():  # Another import swept it before it was locked.
            os.close(lock)
            lock = _locked(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _sweep(self) -> None:
        """Delete what an interrupted import left; a running one holds its lock."""
        for folder in (*self.root.glob(".incoming-*"), *self.root.glob(".removed-*")):
            try:
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(lock)


def _inspect(root: Root, name: str, version: str) -> Image:
    files = _manifest(root, name, version)
    problems = [f"{missing} is missing" for missing in missing_files(file.name for file in files)]
    for file in files:
        try:
            opened = root.open(file.name)
        except Refused as error:
            if root.replaced:
                raise
            problems.append(str(error))
            continue
        opened.close()
        if opened.size != file.size:
            problems.append(_wrong_size(file, opened.size))
    return Image(name, version, files, tuple(problems))


def _open(root: Root, name: str, version: str, file_name: str) -> tuple[Opened, ImageFile]:
    files = _manifest(root, name, version)
    entry = next((file for file in files if file.name == file_name), None)
    if entry is None:
        raise NotFound("file", f"{name}/{version}/{file_name}", "there is: " + ", ".join(f.name for f in files))
    opened = root.open(file_name)
    if opened.size != entry.size:
        opened.close()
        raise Refused(
            f"{name}/{version}: {_wrong_size(entry, opened.size)}",
            f"import it again: `provisioner image import DIR --name {name}`",
        )
    return opened, entry


def _locked(folder: Path) -> int:
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _visible(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if NAME.match(entry.name) and entry.is_dir()]
    except OSError:
        return []


def _natural(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version) if part]


def _write_manifest(folder: Path, name: str, version: str, files: tuple[ImageFile, ...]) -> None:
    content = {
        "image": name,
        "version": version,
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in files],
    }
    with (folder / MANIFEST).open("x") as writer:
        json.dump(content, writer, indent=1)
        writer.flush()
        os.fsync(writer.fileno())
    folder.chmod(0o755)


def _manifest(root: Root, name: str, version: str) -> tuple[ImageFile, ...]:
    try:
        opened = root.open(MANIFEST)
        with os.fdopen(opened.fd, "rb") as reader:
            content = json.load(reader)
        return tuple(ImageFile(str(f["name"]), int(f["size"]), str(f["sha256"])) for f in content["files"])
    except (Missing, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"image {name}/{version} has no readable {MANIFEST}",
            f"import it again: `provisioner image import DIR --name {name}`",
        ) from error


def _wrong_size(file: ImageFile, actual: int) -> str:
    what = "truncated" if actual < file.size else "changed"
    return f"{file.name} is {what}: {actual} bytes, was imported with {file.size}"


def _put_in_place(staging: Path, target: Path) -> None:
    """Put a finished folder in its place in one step; what was there before ends up in ``staging``."""
    _sync(staging)
    flags = _RENAME_EXCHANGE if target.exists() else 0
    if _libc.renameat2(_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(target), flags) < 0:
        number = ctypes.get_errno()
        raise Refused(
            f"version {target.name} cannot be put in place ({os.strerror(number)})",
            f"remove it first: `provisioner image remove {target.parent.name} {target.name}`",
        )
    _sync(target.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
