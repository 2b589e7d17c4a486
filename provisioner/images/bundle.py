"""The offline bundle: one signed archive that carries releases, payload, container images and roles.

A plain tar. ``bundle.json`` comes first and names every file with size and sha256; ``bundle.sig`` holds the
Ed25519 signature (RFC 8032) of its bytes and the public key; the files follow in that order. A reader therefore
knows whom it believes before it writes a byte, and takes nothing that the signed list does not name.
"""

import hashlib
import hmac
import io
import json
import tarfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.images.containers import Container
from provisioner.images.store import Progress

FORMAT = "provisioner bundle 1"
LIST, SIGNATURE = "bundle.json", "bundle.sig"
_LIST_LIMIT = 64 << 20
_CHUNK = 1 << 20
_AGAIN = "copy it again, and compare its sha256 with the original's"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a bundle. ``path`` says what it is: images/I/V/F, payload/P, blobs/HEX or roles/R/F."""

    path: str
    size: int
    """Bytes."""
    sha256: str
    """Hex."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The signed list."""

    made_at: int
    """UTC microseconds."""
    files: Sequence[Entry]
    containers: Sequence[Container] = ()

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files)


def signing_key(secret: bytes) -> Ed25519PrivateKey:
    """The appliance's own, derived from its ``tokens.key``: nothing more to keep, restored with every backup."""
    return Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, b"bundle", "sha256"))


def fingerprint(key: Ed25519PublicKey) -> str:
    """As people compare it: the sha256 of the raw public key in groups of four hexadecimal digits."""
    digits = hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()
    return "-".join(digits[at : at + 4] for at in range(0, 64, 4))


def write(
    target: Path,
    key: Ed25519PrivateKey,
    contents: Contents,
    read: Callable[[Entry], IO[bytes]],
    progress: Progress = lambda _done, _size: None,
) -> None:
    """Write a bundle; it appears under its name when it is whole. ``read`` opens the bytes of an entry.

    Raises Refused when a file is not what the stores say, or the target cannot be written.
    """
    draft = target.with_name(f".{target.name}.part")
    listed = json.dumps(
        {
            "format": FORMAT,
            "made_at": contents.made_at,
            "files": [asdict(entry) for entry in contents.files],
            "containers": [_plain(container) for container in contents.containers],
        }
    ).encode()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = json.dumps(
        {"key": b64encode(public).decode(), "signature": b64encode(key.sign(listed)).decode()}
    ).encode()
    done = 0
    try:
        with draft.open("xb") as out, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name, data in ((LIST, listed), (SIGNATURE, signature)):
                tar.addfile(_member(name, len(data)), io.BytesIO(data))
            for entry in contents.files:
                with read(entry) as reader:
                    hashed = _Hashing(reader)
                    tar.addfile(_member(entry.path, entry.size), hashed)  # type: ignore[arg-type]
                    if hashed.sha256.hexdigest() != entry.sha256:
                        raise _other_bytes(entry)
                progress(done := done + entry.size, contents.size)
        draft.replace(target)
    except OSError as error:
        raise Refused(
            f"{target} cannot be written ({error.strerror or error})", "name another file, or free some space"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


class Reader:
    """A bundle that is open for reading, its list already proven. Make it by ``opened``."""

    def __init__(self, path: Path, tar: tarfile.TarFile, contents: Contents, signer: str) -> None:
        self.contents = contents
        self.signer = signer
        """Fingerprint of the key that signed it."""
        self._path = path
        self._tar = tar

    def unpack(self, folder: Path, progress: Progress = lambda _done, _size: None) -> dict[str, Path]:
        """Write every file beneath ``folder`` under a number, so that no name out of an archive becomes a path.

        Returns where each is. Raises Refused when one is missing, superfluous, or not what was signed.
        """
        found: dict[str, Path] = {}
        done = 0
        for number, entry in enumerate(self.contents.files):
            target = folder / str(number)
            member = _next(self._tar, self._path, entry.path)
            reader = self._tar.extractfile(member)
            if reader is None or member.size != entry.size:
                raise _damaged(self._path, f"{entry.path} is not what was signed")
            with target.open("xb") as out:
                for chunk in _checked(entry, reader):
                    out.write(chunk)
            found[entry.path] = target
            progress(done := done + entry.size, self.contents.size)
        if self._tar.next() is not None:
            raise _damaged(self._path, "it holds more than was signed")
        return found


@contextmanager
def opened(path: Path, trusted: Collection[str]) -> Iterator[Reader]:
    """Open a bundle and prove its list before anything else is read. ``trusted``: fingerprints. Raises Refused."""
    try:
        with tarfile.open(path, "r|") as tar:
            listed = _small(tar, path, LIST, _LIST_LIMIT)
            signer = _proven(path, listed, _small(tar, path, SIGNATURE, 4096))
            if signer not in {word.strip().lower() for word in trusted}:
                raise Refused(
                    f"bundle {path.name} was signed with the key {signer}, which this appliance does not trust",
                    "compare it with what `provisioner image export` printed, then give --trust FINGERPRINT, or "
                    "list it as images.trusted in the settings file",
                )
            yield Reader(path, tar, _contents(path, listed), signer)
    except FileNotFoundError as error:
        raise InvalidValue("file", path, "is not there", "name what `provisioner image export` made") from error
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(path, f"it is cut off or no tar ({error})") from error


def is_bundle(path: Path) -> bool:
    """Does it begin as one? Nothing is believed yet."""
    try:
        with path.open("rb") as file:
            return file.read(len(LIST) + 1) == LIST.encode() + b"\0"
    except OSError:
        return False


def _proven(path: Path, listed: bytes, signature: bytes) -> str:
    try:
        told = json.loads(signature)
        key = Ed25519PublicKey.from_public_bytes(b64decode(told["key"], validate=True))
        key.verify(b64decode(told["signature"], validate=True), listed)
    except (ValueError, KeyError, TypeError, InvalidSignature) as error:
        raise _damaged(path, "the signature of its list is not good") from error
    return fingerprint(key)


def _contents(path: Path, listed: bytes) -> Contents:
    try:
        told = json.loads(listed)
        if told["format"] != FORMAT:
            raise Refused(f"bundle {path.name} has the format {told['format']!r}", "read it with a newer program")
        files = [Entry(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in told["files"]]
        return Contents(int(told["made_at"]), files, [Container(**each) for each in told["containers"]])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"its list cannot be read ({error})") from error


def _small(tar: tarfile.TarFile, path: Path, name: str, limit: int) -> bytes:
    member = _next(tar, path, name)
    reader = tar.extractfile(member)
    if reader is None or member.size > limit:
        raise _damaged(path, f"its {name} is no file of at most {limit} bytes")
    return reader.read()


def _next(tar: tarfile.TarFile, path: Path, name: str) -> tarfile.TarInfo:
    member = tar.next()
    if member is None or member.name != name or not member.isreg():
        raise _damaged(path, f"{name} is not where it should be")
    return member


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


class _Hashing:
    """What tarfile reads from, with a digest of what was read."""

    def __init__(self, reader: IO[bytes]) -> None:
        self._reader = reader
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._reader.read(size)
        self.sha256.update(data)
        return data


def _checked(entry: Entry, reader: IO[bytes]) -> Iterator[bytes]:
    """The bytes of an entry. Raises Refused at the end when they are not what is listed."""
    sha256, size = hashlib.sha256(), 0
    while chunk := reader.read(_CHUNK):
        sha256.update(chunk)
        size += len(chunk)
        if size <= entry.size:
            yield chunk
    if (size, sha256.hexdigest()) != (entry.size, entry.sha256):
        raise _other_bytes(entry)


def _other_bytes(entry: Entry) -> Refused:
    return Refused(f"{entry.path} is not what is listed: its size or sha256 differs", "verify or copy it again")


def _plain(container: Container) -> Mapping[str, Any]:
    return {
        "name": container.name,
        "tag": container.tag,
        "digest": container.digest,
        "manifests": dict(container.manifests),
        "blobs": dict(container.blobs),
    }


def _damaged(path: Path, why: str) -> Refused:
    return Refused(f"bundle {path.name} is damaged or was changed: {why}", _AGAIN)
