"""Bundles out of the stores and into them: what is packed, what may be taken in, and all of it or nothing."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.images import bundle
from provisioner.images.bundle import Contents, Entry
from provisioner.images.containers import Container, ContainerStore, parse_name
from provisioner.images.intake import NAME
from provisioner.images.payload import PayloadStore
from provisioner.images.store import ImageStore, Progress

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~-]*\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_SPARE = 64 << 20
"""Bytes that stay free: a database must go on writing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to pack. ``images``: name and version (empty: the newest); ``containers``: references like pause:3.9."""

    images: Sequence[tuple[str, str]] = ()
    payload: Sequence[str] = ()
    containers: Sequence[str] = ()
    roles: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What an import added, in words, and what was there already."""

    signer: str
    added: Sequence[str]
    known: Sequence[str]


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The stores that bundles are packed from and unpacked into. ``roles``: the folder of role folders."""

    images: ImageStore
    payload: PayloadStore
    containers: ContainerStore
    roles: Path

    def pack(
        self,
        target: Path,
        key: Ed25519PrivateKey,
        wanted: Wanted,
        now: int,
        progress: Progress = lambda _done, _size: None,
    ) -> Contents:
        """Write a bundle. ``now``: UTC microseconds. Raises NotFound, Refused; then there is no file."""
        entries: dict[str, Entry] = {}
        for name, version in wanted.images:
            image = self.images.get(name, version or None)
            if image.problems:
                raise Refused(f"image {name} {image.version}: {'; '.join(image.problems)}", "import it again")
            for file in image.files:
                _list(entries, f"images/{name}/{image.version}/{file.name}", file.size, file.sha256)
        known = self.payload.manifest()
        for path in wanted.payload:
            if path not in known:
                raise NotFound("payload", path, "`provisioner payload list` shows what there is")
            _list(entries, f"payload/{path}", known[path].size, known[path].sha256)
        containers = [self._container(reference) for reference in wanted.containers]
        for container in containers:
            for digest, size in container.blobs.items():
                _list(entries, f"blobs/{digest.removeprefix('sha256:')}", size, digest.removeprefix("sha256:"))
        for role in wanted.roles:
            for file_name, data in _role_files(self.roles / role):
                _list(entries, f"roles/{role}/{file_name}", len(data), hashlib.sha256(data).hexdigest())
        if not entries:
            raise Refused("there is nothing to pack", "import an image first, or name what there is")
        contents = Contents(now, list(entries.values()), containers)
        bundle.write(target, key, contents, self._read, progress)
        return contents

    def take_in(
        self, path: Path, trusted: Collection[str], progress: Progress = lambda _done, _size: None
    ) -> Taken:
        """Import a bundle: signature, every sha256 and every conflict first, then all of it.

        What is there with the same bytes stays. Raises Refused; then nothing was added.
        """
        with bundle.opened(path, trusted) as reader:
            contents = reader.contents
            for entry in contents.files:
                _check_path(entry)
            plan = [*self._images_in(contents), *self._payload_in(contents)]
            plan += [*self._containers_in(contents), *self._roles_in(contents)]
            free = shutil.disk_usage(self.images.root).free
            # Payload and blobs are copied out of the unpacked files.
            if 2 * contents.size + _SPARE > free:
                raise Refused(
                    f"bundle {path.name} may need {2 * contents.size / 1e6:.0f} MB, {free / 1e6:.0f} MB are free",
                    "free some space in data_dir",
                )
            with self.images.staging() as folder:
                files = reader.unpack(folder, progress)
                _all_or_nothing([step for step in plan if step.add is not None], folder, files)
        return Taken(
            reader.signer,
            [step.what for step in plan if step.add is not None],
            [step.what for step in plan if step.add is None],
        )

    def _container(self, reference: str) -> Container:
        name, tag = parse_name(reference)
        found = self.containers.find(name, tag)
        if found is None:
            raise NotFound("container", f"{name}:{tag}", "`provisioner container list` shows what there is")
        return found

    def _read(self, entry: Entry) -> IO[bytes]:
        kind, _, rest = entry.path.partition("/")
        match kind:
            case "images":
                name, version, file = rest.split("/")
                return os.fdopen(self.images.open(name, version, file)[0].fd, "rb")
            case "payload":
                return (self.payload.root / rest).open("rb")
            case "blobs":
                return os.fdopen(self.containers.open(f"sha256:{rest}", entry.size).fd, "rb")
            case _:
                return (self.roles / rest).open("rb")

    def _images_in(self, contents: Contents) -> Iterator["_Step"]:
        versions: dict[tuple[str, str], list[Entry]] = {}
        for entry in _below(contents, "images"):
            _, name, version, _ = entry.path.split("/")
            versions.setdefault((name, version), []).append(entry)
        for (name, version), entries in versions.items():
            what = f"image {name} {version}"
            if version in self.images.versions(name):
                there = {file.name: file.sha256 for file in self.images.get(name, version).files}
                if there != {entry.path.split("/")[3]: entry.sha256 for entry in entries}:
                    raise _conflict(what, f"`provisioner image remove {name} {version}`")
                yield _Step(what)
                continue

            def add(
                folder: Path,
                files: dict[str, Path],
                name: str = name,
                version: str = version,
                entries: list[Entry] = entries,
            ) -> Callable[[], None]:
                release = folder / f"{name}-{version}"
                release.mkdir()
                for entry in entries:
                    files[entry.path].rename(release / entry.path.split("/")[3])
                self.images.take(release, name, version)
                return lambda: self.images.remove(name, version)

            yield _Step(what, add)

    def _payload_in(self, contents: Contents) -> Iterator["_Step"]:
        there = self.payload.manifest()
        for entry in _below(contents, "payload"):
            path = entry.path.removeprefix("payload/")
            if path in there:
                if there[path].sha256 != entry.sha256:
                    raise _conflict(f"payload {path}", f"`provisioner payload remove {path}`")
                yield _Step(f"payload {path}")
                continue

            def add(_: Path, files: dict[str, Path], path: str = path, entry: Entry = entry) -> Callable[[], None]:
                self.payload.add(files[entry.path], path)
                return lambda: self.payload.remove(path)

            yield _Step(f"payload {path}", add)

    def _containers_in(self, contents: Contents) -> Iterator["_Step"]:
        carried = {entry.path.removeprefix("blobs/") for entry in _below(contents, "blobs")}
        for container in contents.containers:
            reference = f"{container.name}:{container.tag}"
            parse_name(reference)
            missing = [digest for digest in container.blobs if digest.removeprefix("sha256:") not in carried]
            if missing:
                raise Refused(f"container {reference} lacks its blob {missing[0]}", "export it again")
            there = self.containers.find(container.name, container.tag)
            if there is not None:
                if there.digest != container.digest:
                    raise _conflict(f"container {reference}", f"`provisioner container remove {reference}`")
                yield _Step(f"container {reference}")
                continue

            def add(_: Path, files: dict[str, Path], container: Container = container) -> Callable[[], None]:
                with self.containers.locked():
                    for digest in container.blobs:
                        with files[f"blobs/{digest.removeprefix('sha256:')}"].open("rb") as reader:
                            self.containers.put_blob(reader, digest)
                    self.containers.put(container)
                return lambda: self.containers.remove(container.name, container.tag)

            yield _Step(f"container {reference}", add)

    def _roles_in(self, contents: Contents) -> Iterator["_Step"]:
        folders: dict[str, list[Entry]] = {}
        for entry in _below(contents, "roles"):
            folders.setdefault(entry.path.split("/")[1], []).append(entry)
        for role, entries in folders.items():
            target = self.roles / role
            if target.exists():
                there = {
                    f"roles/{role}/{name}": hashlib.sha256(data).hexdigest() for name, data in _role_files(target)
                }
                if there != {entry.path: entry.sha256 for entry in entries}:
                    raise _conflict(f"role {role}", f"move {target} away, or keep it and leave the role out")
                yield _Step(f"role {role}")
                continue

            def add(
                _: Path, files: dict[str, Path], target: Path = target, entries: list[Entry] = entries
            ) -> Callable[[], None]:
                fresh = target.with_name(f".{target.name}.incoming")
                shutil.rmtree(fresh, ignore_errors=True)
                for entry in entries:
                    file = fresh.joinpath(*entry.path.split("/")[2:])
                    file.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(files[entry.path], file)
                fresh.rename(target)
                return lambda: shutil.rmtree(target)

            yield _Step(f"role {role}", add)


@dataclass(frozen=True, slots=True)
class _Step:
    """Something of a bundle. ``add`` puts it in place and returns what takes it away again; None: it is there."""

    what: str
    add: Callable[[Path, dict[str, Path]], Callable[[], None]] | None = None


def _all_or_nothing(steps: Sequence[_Step], folder: Path, files: dict[str, Path]) -> None:
    undo: list[Callable[[], None]] = []
    try:
        for step in steps:
            assert step.add is not None  # noqa: S101 - chosen so by the caller
            undo.append(step.add(folder, files))
    except BaseException as error:
        for take_away in reversed(undo):
            take_away()
        if isinstance(error, OSError):
            raise Refused(
                f"the bundle cannot be stored ({error.strerror}: {error.filename})", "free some space"
            ) from error
        raise


def _list(entries: dict[str, Entry], path: str, size: int, sha256: str) -> None:
    entry = Entry(path, size, sha256)
    _check_path(entry)
    entries[path] = entry


def _check_path(entry: Entry) -> None:
    """Raises InvalidValue for a path that is none of those that ``Entry`` knows. A signer may err, too."""
    kind, *parts = entry.path.split("/")
    plain = all(_PART.match(part) for part in parts)
    fits = {
        "images": len(parts) == 3 and all(NAME.match(part) for part in parts),
        "payload": bool(parts) and plain,
        "blobs": len(parts) == 1 and bool(_HEX.match(parts[0])) and parts[0] == entry.sha256,
        "roles": len(parts) >= 2 and plain,
    }
    if not fits.get(kind) or entry.size < 0 or not _HEX.match(entry.sha256):
        raise InvalidValue("path", entry.path, "is nothing that a bundle may hold", "export it again")


def _below(contents: Contents, kind: str) -> list[Entry]:
    return [entry for entry in contents.files if entry.path.startswith(f"{kind}/")]


def _role_files(folder: Path) -> list[tuple[str, bytes]]:
    """A role's own files by relative path; editors' hidden leftovers stay behind. Raises NotFound."""
    if not (folder / "role.yaml").is_file():
        raise NotFound("role", folder.name, "`provisioner role list` shows what there is")
    return [
        (str(path.relative_to(folder)), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]


def _conflict(what: str, remedy: str) -> Refused:
    return Refused(f"{what} is here already, with other bytes than the bundle's", f"{remedy}, then import again")
