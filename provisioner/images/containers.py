"""Container images at rest: blobs by digest, and a small record for each name and tag.

``ROOT/blobs/sha256/HEX`` are never changed in place; ``ROOT/tags/NAME@TAG.json`` says which manifest a tag means
and which blobs (with their sizes) belong to it. Blobs are there before a record names them.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.images.beneath import Opened, Root

_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::[0-9]+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Container:
    """One tag. ``blobs``: size by digest of all that a pull may ask for, manifests included."""

    name: str
    """With the registry: ``registry.k8s.io/pause``, ``docker.io/library/busybox``."""
    tag: str
    digest: str
    """Of the manifest or index, ``sha256:HEX``."""
    manifests: Mapping[str, str]
    """Media type by digest, of the manifests and indexes among the blobs."""
    blobs: Mapping[str, int]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(self.blobs.values())


def parse_name(reference: str) -> tuple[str, str]:
    """``busybox:1.36`` → ``docker.io/library/busybox``, ``1.36``; without a tag ``latest``. Raises InvalidValue."""
    name, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        name, tag = reference, "latest"
    first, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{first}/{rest}"
    if not (_NAME.match(name) and _TAG.match(tag)):
        raise InvalidValue("name", reference, "is no image reference", "write it like registry.k8s.io/pause:3.9")
    return name, tag


class ContainerStore:
    """The container images beneath one folder, which is created when it is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs, self._tags = root / "blobs" / "sha256", root / "tags"
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._tags.mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidValue(
                "containers", root, f"cannot be created ({error.strerror})", "correct data_dir or its owner"
            ) from error

    def list(self) -> list[Container]:
        """All, by name and tag."""
        found = [self._read(path) for path in sorted(self._tags.glob("*.json"))]
        return [container for container in found if container is not None]

    def find(self, name: str, tag: str) -> Container | None:
        if not (_NAME.match(name) and _TAG.match(tag)):
            return None
        return self._read(self._record(name, tag))

    def open(self, digest: str, size: int) -> Opened:
        """A blob. Raises Refused when it is not as long as it was; the caller closes it."""
        if not _DIGEST.match(digest):
            raise NotFound("blob", digest, "a digest is sha256: and 64 hexadecimal digits")
        root = Root(self._blobs)
        try:
            opened = root.open(digest.removeprefix("sha256:"))
        finally:
            root.close()
        if opened.size != size:
            opened.close()
            raise Refused(f"blob {digest} has {opened.size} bytes, was imported with {size}", "import it again")
        return opened

    def remove(self, name: str, tag: str) -> None:
        """Take a tag away, and the blobs that no other tag has. Raises NotFound."""
        with self.locked():
            try:
                self._record(name, tag).unlink()
            except FileNotFoundError:
                raise NotFound("container", f"{name}:{tag}") from None
            self.collect()

    def collect(self) -> None:
        """While ``locked``: delete the blobs that no tag has."""
        kept = {digest for container in self.list() for digest in container.blobs}
        for blob in self._blobs.iterdir():
            if f"sha256:{blob.name}" not in kept:
                blob.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One import or removal at a time, so that no blob goes away before its record is there."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def put_blob(self, reader: IO[bytes], expected: str = "") -> tuple[str, int]:
        """Store what ``reader`` has; its digest and size. Raises InvalidValue when it is not ``expected``."""
        staging = self.root / f".incoming-{secrets.token_hex(6)}"
        sha256, size = hashlib.sha256(), 0
        try:
            with staging.open("xb") as writer:
                while chunk := reader.read(_CHUNK):
                    writer.write(chunk)
                    sha256.update(chunk)
                    size += len(chunk)
                writer.flush()
                os.fsync(writer.fileno())
            digest = f"sha256:{sha256.hexdigest()}"
            if expected and digest != expected:
                raise InvalidValue(
                    "blob", expected, f"has the digest {digest}", "the archive is damaged: make or fetch it again"
                )
            staging.chmod(0o644)
            staging.rename(self._blobs / sha256.hexdigest())
        finally:
            staging.unlink(missing_ok=True)
        return digest, size

    def put(self, container: Container) -> None:
        """Publish a tag whose blobs are all there."""
        record = self._record(container.name, container.tag)
        fresh = record.with_name(f".{secrets.token_hex(6)}")
        fresh.write_text(
            json.dumps(
                {
                    "name": container.name,
                    "tag": container.tag,
                    "digest": container.digest,
                    "manifests": dict(container.manifests),
                    "blobs": dict(container.blobs),
                }
            )
        )
        fresh.rename(record)

    def _record(self, name: str, tag: str) -> Path:
        return self._tags / f"{quote(name, safe='')}@{tag}.json"

    def _read(self, record: Path) -> Container | None:
        try:
            content = json.loads(record.read_text())
            return Container(**content) if unquote(record.name).startswith(f"{content['name']}@") else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"container record {record.name} cannot be read", "delete it and import again") from error
