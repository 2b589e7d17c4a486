"""What publishers ship: file names, version files, digests, and how a cut-off file shows itself."""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

DIGEST_FILES = (".DIGESTS", ".DIGESTS.asc", "SHA256SUMS")
"""Flatcar and CoreOS publish ``FILE.DIGESTS`` (or signed ``.asc``), others one ``SHA256SUMS``."""

_DIGEST_LINE = re.compile(r"^([0-9a-f]{64}|[0-9a-f]{128}) [ *](\S+)$")
_VERSION_LINE = re.compile(r"^(?:FLATCAR_VERSION|COREOS_VERSION|VERSION)=[\"']?([^\"'\s]+)[\"']?\s*$", re.MULTILINE)
_BZ2_END = 0x177245385090
"""The 48 bits that end a bzip2 stream (the square root of pi), followed by 32 bits of checksum."""


@dataclass(frozen=True, slots=True)
class Family:
    """A publisher's set: what must be there to boot and install, as patterns with a plain name."""

    name: str
    marker: re.Pattern[str]
    needs: tuple[tuple[str, re.Pattern[str]], ...]


FAMILIES = (
    Family(
        "Flatcar or CoreOS",
        re.compile(r"^(flatcar|coreos)_production_"),
        (
            ("…_production_pxe.vmlinuz", re.compile(r"_production_pxe\.vmlinuz$")),
            ("…_production_pxe_image.cpio.gz", re.compile(r"_production_pxe_image\.cpio\.gz$")),
            ("…_production_image.bin.bz2", re.compile(r"_production_image\.bin\.bz2$")),
        ),
    ),
    Family(
        "Fedora CoreOS",
        re.compile(r"-live-(kernel|initramfs|rootfs)"),
        (
            ("…-live-kernel…", re.compile(r"-live-kernel")),
            ("…-live-initramfs…", re.compile(r"-live-initramfs")),
            ("…-live-rootfs…", re.compile(r"-live-rootfs")),
        ),
    ),
)


def missing_files(names: Iterable[str]) -> tuple[str, ...]:
    """What a known publisher's set lacks; empty for sets we know nothing of."""
    names = list(names)
    for family in FAMILIES:
        if any(family.marker.search(name) for name in names):
            return tuple(plain for plain, pattern in family.needs if not any(pattern.search(n) for n in names))
    return ()


def is_kernel(name: str) -> bool:
    """The file a machine's loader starts."""
    return not _is_companion(name) and ("vmlinuz" in name or "kernel" in name)


def _is_companion(name: str) -> bool:
    return name.endswith((".sig", ".asc", ".txt", ".json", *DIGEST_FILES))


def published_version(text: str) -> str | None:
    """The version in a ``version.txt``: Flatcar's and CoreOS's lines, or a single word."""
    if found := _VERSION_LINE.search(text):
        return found.group(1)
    words = text.split()
    return words[0] if len(words) == 1 and "=" not in words[0] else None


def published_digests(texts: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Digests by file name: sha256 (64 hex digits), sha512 (128). MD5 and SHA-1 prove nothing: skipped."""
    found: dict[str, set[str]] = {}
    for text in texts:
        for line in text.splitlines():
            if match := _DIGEST_LINE.match(line.strip()):
                found.setdefault(match.group(2), set()).add(match.group(1))
    return {name: frozenset(digests) for name, digests in found.items()}


def cut_off(path: Path) -> str | None:
    """How a compressed file shows that its end is missing, or None. For files without a published digest."""
    with path.open("rb") as file:
        head = file.read(6)
        if head.startswith(b"\x1f\x8b"):
            file.seek(0)
            stream = zlib.decompressobj(wbits=31)
            while chunk := file.read(1 << 20):
                try:
                    while chunk:
                        stream.decompress(chunk, 1 << 22)
                        chunk = stream.unconsumed_tail
                except zlib.error as error:
                    return f"is damaged (gzip: {error})"
                if stream.eof:
                    return None
            return "is cut off (its gzip stream does not end)"
        size = file.seek(0, 2)
        file.seek(max(0, size - 12))
        tail = file.read()
    if head.startswith(b"BZh") and head[3:4].isdigit():
        return None if _ends_as_bz2(tail) else "is cut off (its bzip2 stream does not end)"
    if head.startswith(b"\xfd7zXZ\0") and not tail.endswith(b"YZ"):
        return "is cut off (its xz footer is missing)"
    return None


def _ends_as_bz2(tail: bytes) -> bool:
    # The end marker starts at any bit; up to 7 bits of padding follow the checksum.
    bits = int.from_bytes(tail, "big")
    return any((bits >> (32 + pad)) & ((1 << 48) - 1) == _BZ2_END for pad in range(8))
