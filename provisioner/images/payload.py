"""Files that installs fetch besides the image: Kubernetes binaries, container tars, sysext images.

They lie beneath one folder under the paths that roles name; ``.manifest.json`` there keeps size and sha256 of each.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from provisioner.domain.errors import InvalidValue, NotFound, Refused

_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~-]*(/[A-Za-z0-9_][A-Za-z0-9._+~-]*)*\Z")
_MANIFEST = ".manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Payload:
    """One file. ``path`` is below ``/payload/``."""

    path: str
    size: int
    """Bytes."""
    sha256: str
    """Hex."""


class PayloadStore:
    """The payload beneath one folder, which is created when it is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidValue(
                "payload", root, f"cannot be created ({error.strerror})", "correct data_dir or its owner"
            ) from error

    def manifest(self) -> Mapping[str, Payload]:
        """All that was added, by path, sorted. Raises Refused when the manifest cannot be read."""
        try:
            content = json.loads((self.root / _MANIFEST).read_text())
            return {path: Payload(**content[path]) for path in sorted(content)}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise Refused(
                f"{self.root / _MANIFEST} cannot be read ({error})", "delete it and add the files again"
            ) from error

    def sums(self) -> str:
        """As ``sha256sum`` writes and checks it."""
        return "".join(f"{entry.sha256}  {entry.path}\n" for entry in self.manifest().values())

    def add(self, file: Path, path: str = "") -> Payload:
        """Take a file in under ``path`` (default: its name); who reads a replaced one keeps the old bytes."""
        path = path or file.name
        if path.startswith("/"):
            raise InvalidValue("path", path, "begins with a slash", f"paths are below /payload: {path.lstrip('/')}")
        if not _PATH.match(path) or path == "SHA256SUMS":
            raise InvalidValue(
                "path", path, "cannot be part of a URL", "use letters, digits and . _ + ~ - between /"
            )
        target = self.root / path
        staging = self.root / f".incoming-{secrets.token_hex(6)}"
        sha256, size = hashlib.sha256(), 0
        try:
            with file.open("rb") as reader, staging.open("xb") as writer:
                while chunk := reader.read(_CHUNK):
                    writer.write(chunk)
                    sha256.update(chunk)
                    size += len(chunk)
                writer.flush()
                os.fsync(writer.fileno())
            staging.chmod(0o644)
            entry = Payload(path, size, sha256.hexdigest())
            with self._changing() as entries:
                target.parent.mkdir(parents=True, exist_ok=True)
                staging.rename(target)
                entries[path] = entry
        except OSError as error:
            raise InvalidValue(
                "file", file, f"cannot be taken in ({error.strerror})", "correct its path or free some space"
            ) from error
        finally:
            staging.unlink(missing_ok=True)
        return entry

    def remove(self, path: str) -> None:
        """Raises NotFound."""
        with self._changing() as entries:
            if entries.pop(path, None) is None:
                raise NotFound("payload", path)
            (self.root / path).unlink(missing_ok=True)

    def verify(self) -> list[str]:
        """Read every byte again; what is wrong, in words."""
        problems = []
        for entry in self.manifest().values():
            try:
                with (self.root / entry.path).open("rb") as reader:
                    actual = hashlib.file_digest(reader, "sha256").hexdigest()
            except OSError as error:
                problems.append(f"{entry.path} cannot be read ({error.strerror})")
                continue
            if actual != entry.sha256:
                problems.append(f"{entry.path} has sha256 {actual}, was added with {entry.sha256}")
        return problems

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Payload]]:
        """The manifest's entries, written back at the end; one writer at a time."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            entries = dict(self.manifest())
            yield entries
            fresh = self.root / f"{_MANIFEST}.new"
            fresh.write_text(json.dumps({path: asdict(entry) for path, entry in entries.items()}, indent=1))
            fresh.rename(self.root / _MANIFEST)
        finally:
            os.close(fd)
