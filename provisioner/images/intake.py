"""Taking a publisher's files in: copied, hashed and checked in one pass."""

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from provisioner.domain.errors import InvalidValue
from provisioner.images.layout import cut_off, published_version

MANIFEST = "manifest.json"
"""The store's own file in every version; a source's file of this name is not taken."""
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")
"""Images, versions and files: they become parts of URLs and of command lines."""
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file as it was imported."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    """Hex."""


def check_name(field: str, value: str) -> None:
    if not NAME.match(value):
        raise InvalidValue(field, value, "cannot be part of a URL", "use letters, digits, '.', '_', '+', '-'")


def sources(directory: Path) -> list[Path]:
    """The files to import. Raises Refused."""
    try:
        entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InvalidValue(
            "directory", directory, f"cannot be read ({error.strerror})", "name a folder with a publisher's files"
        ) from error
    sources = [entry for entry in entries if entry.name != MANIFEST]
    if not sources:
        raise InvalidValue("directory", directory, "holds no files", "name a folder with a publisher's files")
    return list(checked(sources))


def checked(sources: Sequence[Path]) -> Sequence[Path]:
    """The same, if each can be part of an image. Raises InvalidValue."""
    if twice := [path.name for path in sources if [other.name for other in sources].count(path.name) > 1]:
        raise InvalidValue("file", twice[0], "is named twice", "name each file once")
    for path in sources:
        if not path.exists():
            raise InvalidValue(
                "source", path, "is not there", "name a folder with a publisher's files, or the files themselves"
            )
        if not path.is_file():
            raise InvalidValue("file", path.name, "is no regular file", "images are flat: move or remove it")
        check_name("file", path.name)
        if path.stat().st_size == 0:
            raise InvalidValue("file", path.name, "is empty (0 bytes)", "download it again")
    return sources


def read_version(directory: Path) -> str:
    path = directory / "version.txt"
    text = path.read_text(errors="replace") if path.is_file() else ""
    version = published_version(text)
    if version is None:
        why = "names no version" if text else "is not among the files"
        raise InvalidValue("file", "version.txt", why, "say which release it is: --version V")
    return version


def copy(source: Path, target: Path, published: frozenset[str] | None, *, move: bool = False) -> ImageFile:
    """Copy (or ``move``, on one file system) and hash in one pass.

    Raises InvalidValue when the bytes are not what was published.
    """
    if move:
        source.rename(target)
    sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
    with ExitStack() as files:
        reader = files.enter_context((target if move else source).open("rb"))
        writer = None if move else files.enter_context(target.open("xb"))
        expected = os.fstat(reader.fileno()).st_size
        while chunk := reader.read(CHUNK):
            sha256.update(chunk)
            if published:
                sha512.update(chunk)
            size += len(chunk)
            if writer is not None:
                writer.write(chunk)
        if writer is not None:
            writer.flush()
        os.fsync((writer or reader).fileno())
    target.chmod(0o644)
    if size != expected:
        raise InvalidValue(
            "file", source.name, f"changed while it was read ({expected} → {size} bytes)", "try again"
        )
    if published:
        for actual in (sha256.hexdigest(), sha512.hexdigest()):
            # Some publishers list BLAKE2b, as long as SHA-512, beside it: one match of a length is enough.
            same_length = sorted(digest for digest in published if len(digest) == len(actual))
            if same_length and actual not in same_length:
                raise InvalidValue(
                    "file",
                    source.name,
                    f"has digest {actual[:16]}…, but {same_length[0][:16]}… was published",
                    "it is truncated or damaged: download it again",
                )
    elif (fault := cut_off(target)) is not None:
        raise InvalidValue("file", source.name, f"{fault}, {size} bytes", "download it again")
    return ImageFile(source.name, size, sha256.hexdigest())
