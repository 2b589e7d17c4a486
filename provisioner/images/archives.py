"""Container images out of tar files: ``docker save`` (docker-archive) and OCI image layouts, gzipped or not.

Nothing is unpacked: members are read by name, hashed, and kept as blobs.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.domain.errors import InvalidValue, Refused
from provisioner.images.containers import Container, ContainerStore, parse_name

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
_DAMAGED = "it is damaged: make it again"
_LIMIT = 8 << 20
"""Bytes of a manifest; registries take 4 MiB."""
_DEPTH = 3
"""Indexes in indexes."""


def _why(error: Exception) -> str:
    """Without a traceback's ornaments: tarfile lists every decompressor that it tried."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not a tar file" if "\n" in str(error) else str(error) or "it ends too early"


def import_archive(store: ContainerStore, path: Path, name: str = "") -> Sequence[Container]:
    """Take in every image of a tar file. ``name``: for an archive with one image that names none, or another name.

    Raises InvalidValue or Refused with file and remedy; then no tag has changed.
    """
    try:
        with tarfile.open(path, "r:*") as tar, store.locked():
            try:
                found = _read(store, path, tar, name)
            except BaseException:
                store.collect()
                raise
            for container in found:
                store.put(container)
            return found
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InvalidValue(
            "file", path, f"cannot be read as a tar ({_why(error)})", "`docker save` or `skopeo copy` makes one"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidValue(
            "file", path, f"has an entry that is not as the format says ({error})", _DAMAGED
        ) from error


def _read(store: ContainerStore, path: Path, tar: tarfile.TarFile, name: str) -> list[Container]:
    members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
    archive = _Archive(store, path, tar, members)
    found = archive.docker() if "manifest.json" in members else archive.oci()
    if name:
        if len({each.digest for each in found}) != 1:
            raise InvalidValue("name", name, f"fits one image; the archive has {len(found)}", "leave it out")
        wanted, tag = parse_name(name)
        return [replace(found[0], name=wanted, tag=tag)]
    if not all(container.name for container in found):
        raise InvalidValue(
            "file", path.name, "does not say how its image is called", "give it: --name registry/path:tag"
        )
    return found


class _Archive:
    def __init__(
        self, store: ContainerStore, path: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]
    ) -> None:
        self._store = store
        self._path = path
        self._tar = tar
        self._members = members

    def docker(self) -> list[Container]:
        """``manifest.json`` lists images with config and layers; the layers are plain tars."""
        found = []
        for entry in self._json("manifest.json", list):
            config_digest, config_size = self._store.put_blob(self._member(entry["Config"]))
            config = self._json(entry["Config"], dict)
            diff_ids = config.get("rootfs", {}).get("diff_ids", [])
            if len(diff_ids) != len(entry["Layers"]):
                raise InvalidValue(
                    "file", self._path.name, "has other layers than its config says", "make it again: `docker save`"
                )
            layers: list[dict[str, Any]] = []
            blobs = {config_digest: config_size}
            for layer, diff_id in zip(entry["Layers"], diff_ids, strict=True):
                digest, size = self._store.put_blob(self._member(layer), diff_id)
                blobs[digest] = size
                layers.append({"mediaType": _PLAIN_LAYER, "digest": digest, "size": size})
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "config": {
                        "mediaType": "application/vnd.oci.image.config.v1+json",
                        "digest": config_digest,
                        "size": config_size,
                    },
                    "layers": layers,
                }
            ).encode()
            digest, manifest_size = self._store.put_blob(io.BytesIO(manifest))
            blobs[digest] = manifest_size
            names = [parse_name(tag) for tag in entry.get("RepoTags") or []] or [("", "")]
            found += [Container(name, tag, digest, {digest: OCI_MANIFEST}, blobs) for name, tag in names]
        return found

    def oci(self) -> list[Container]:
        """``index.json`` of an OCI image layout."""
        if "index.json" not in self._members:
            raise InvalidValue(
                "file",
                self._path.name,
                "has neither manifest.json (docker save) nor index.json (OCI layout)",
                "make one: `skopeo copy docker://IMAGE oci-archive:FILE:IMAGE`",
            )
        found = []
        for descriptor in self._json("index.json", dict)["manifests"]:
            manifests: dict[str, str] = {}
            blobs: dict[str, int] = {}
            self._take(descriptor, manifests, blobs, _DEPTH)
            notes = descriptor.get("annotations") or {}
            reference = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name", "")
            # A bare tag is no name.
            name, tag = parse_name(reference) if {"/", ":"} & set(reference) else ("", "")
            found.append(Container(name, tag, descriptor["digest"], manifests, blobs))
        return found

    def _take(
        self, descriptor: dict[str, Any], manifests: dict[str, str], blobs: dict[str, int], depth: int
    ) -> None:
        """A manifest or index with all beneath it that the archive has."""
        digest, kind = descriptor["digest"], descriptor.get("mediaType", OCI_MANIFEST)
        member = "blobs/" + digest.replace(":", "/", 1)
        content = self._json(member, dict)
        _, blobs[digest] = self._store.put_blob(self._member(member), digest)
        manifests[digest] = kind
        if kind in _INDEXES and depth:
            for child in content["manifests"]:
                # Archives are often made for one architecture of a larger index.
                if "blobs/" + child["digest"].replace(":", "/", 1) in self._members:
                    self._take(child, manifests, blobs, depth - 1)
        elif kind in _MANIFESTS:
            for part in [content["config"], *content["layers"]]:
                digest = part["digest"]
                if digest not in blobs:
                    reader = self._member("blobs/" + digest.replace(":", "/", 1))
                    _, blobs[digest] = self._store.put_blob(reader, digest)
        else:
            raise InvalidValue("mediaType", kind, "is no image manifest or index", "leave such entries out")

    def _member(self, name: str) -> Any:
        reader = None
        with suppress(KeyError):
            reader = self._tar.extractfile(self._members[name]) if name in self._members else None
        if reader is None:
            raise InvalidValue("file", self._path.name, f"lacks {name!r}", "it is incomplete: make it again")
        return reader

    def _json(self, name: str, kind: type) -> Any:
        data = self._member(name).read(_LIMIT + 1)
        try:
            content = json.loads(data)
        except ValueError as error:
            raise Refused(f"{self._path.name}: {name} is no JSON ({error})", _DAMAGED) from error
        if not isinstance(content, kind):
            raise Refused(f"{self._path.name}: {name} is not what it should be", _DAMAGED)
        return content
