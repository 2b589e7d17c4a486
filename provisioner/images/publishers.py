"""Where publishers put their releases: which files a release has, at which URLs, with which digests.

Flatcar: ``BASE/VERSION/FILE`` with ``FILE.sig`` and ``FILE.DIGESTS``; ``BASE/current/version.txt``: the newest.
Fedora CoreOS: stream metadata ``BASE/streams/STREAM.json``; an older build has ``meta.json`` beside its files.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.images.intake import check_name
from provisioner.images.layout import published_version

Get = Callable[[str], bytes]
"""Reads a small document by URL; raises Refused."""

FLATCAR_FILES = (
    "flatcar_production_pxe.vmlinuz",
    "flatcar_production_pxe_image.cpio.gz",
    "flatcar_production_image.bin.bz2",
)
"""To boot the live system, and what ``flatcar-install`` writes to the disk."""
COREOS_PARTS = ("kernel", "initramfs", "rootfs")
"""The live system carries the disk image it installs (osmet)."""
DEFAULT_STREAM = "stable"
_ADDRESS = "is that address the publisher's, or a mirror of it?"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to fetch."""

    name: str
    url: str
    sha256: str = ""
    """Hex; empty where the publisher has its digests in a file of their own."""
    signed_by: str = ""
    """The detached signature's name among the release's files; empty: this file is a signature or digest."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a publisher calls one version."""

    version: str
    files: tuple[Wanted, ...]


def plan(publisher: str, base: str, stream: str, version: str, arch: str, get: Get) -> Release:
    """Find out what belongs to a release. ``version`` empty: the newest of the stream.

    ``base`` may hold ``{stream}``; ``arch``: amd64 or arm64. Raises InvalidValue, Refused.
    """
    planners: Mapping[str, Callable[[str, str, str, str, Get], Release]] = {
        "flatcar": _flatcar,
        "fedora-coreos": _fedora_coreos,
    }
    if publisher not in planners:
        raise InvalidValue(
            "publisher",
            publisher,
            "is not known",
            f"choose one of {', '.join(planners)}, or `image import` a folder",
        )
    check_name("stream", stream)
    if version:
        check_name("version", version)
    return planners[publisher](base.rstrip("/").replace("{stream}", stream), stream, version, arch, get)


def _flatcar(base: str, stream: str, version: str, arch: str, get: Get) -> Release:
    url = f"{base}/{arch}-usr/{version or 'current'}"
    text = get(f"{url}/version.txt").decode(errors="replace")
    published = published_version(text)
    if published is None:
        raise Refused(f"{url}/version.txt names no version", _ADDRESS)
    if version and published != version:
        raise Refused(
            f"{url}/version.txt says {published}, not {version}", "ask for the version that is really there"
        )
    check_name("version", published)
    # By number, so that a release that appears meanwhile can't mix with this one.
    url = f"{base}/{arch}-usr/{published}"
    files = [Wanted("version.txt", f"{url}/version.txt")]
    for name in FLATCAR_FILES:
        files += [
            Wanted(name, f"{url}/{name}", signed_by=f"{name}.sig"),
            Wanted(f"{name}.sig", f"{url}/{name}.sig"),
            Wanted(f"{name}.DIGESTS", f"{url}/{name}.DIGESTS"),
        ]
    return Release(published, tuple(files))


def _fedora_coreos(base: str, stream: str, version: str, arch: str, get: Get) -> Release:
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(arch, arch)
    url = f"{base}/streams/{stream}.json"
    content = _json(url, get(url))
    metal = _at(url, content, "architectures", arch, "artifacts", "metal")
    release = str(_at(url, metal, "release"))
    check_name("version", release)
    if not version or version == release:
        pxe = _at(url, metal, "formats", "pxe")
        parts = [_at(url, pxe, part) for part in COREOS_PARTS]
        artifacts = [
            (str(_at(url, p, "location")), str(_at(url, p, "signature")), str(_at(url, p, "sha256"))) for p in parts
        ]
        return _coreos_release(release, artifacts)
    folder = f"{base}/prod/streams/{stream}/builds/{version}/{arch}"
    url = f"{folder}/meta.json"
    images = _at(url, _json(url, get(url)), "images")
    parts = [_at(url, images, f"live-{part}") for part in COREOS_PARTS]
    artifacts = [
        (f"{folder}/{_at(url, p, 'path')}", f"{folder}/{_at(url, p, 'path')}.sig", str(_at(url, p, "sha256")))
        for p in parts
    ]
    return _coreos_release(version, artifacts)


def _coreos_release(version: str, artifacts: list[tuple[str, str, str]]) -> Release:
    files = []
    for location, signature, sha256 in artifacts:
        name, sig = _file_name(location), _file_name(signature)
        files += [Wanted(name, location, sha256.lower(), sig), Wanted(sig, signature)]
    return Release(version, tuple(files))


def _file_name(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    check_name("file", name)
    return name


def _json(url: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise Refused(f"{url} is no JSON ({error})", _ADDRESS) from error


def _at(url: str, content: Any, *path: str) -> Any:
    for number, key in enumerate(path, 1):
        if not isinstance(content, dict) or key not in content:
            raise Refused(
                f"{url} has no {'.'.join(path[:number])}",
                "the publisher offers no such build for this machine type",
            )
        content = content[key]
    return content
