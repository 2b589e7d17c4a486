"""The pull part of the OCI distribution specification (v1.1) over imported images, read-only.

A mirror is asked in three ways, and all find the image: ``/v2/registry.k8s.io/pause/…`` (prefix kept),
``/v2/pause/…?ns=registry.k8s.io`` (containerd), and ``/v2/pause/…`` where only one registry has such a path.
"""

import re
from collections.abc import Callable, Sequence

from aiohttp import web

from provisioner.domain.errors import Refused
from provisioner.images.beneath import Opened
from provisioner.images.containers import Container, ContainerStore

_PATH = re.compile(r"(?P<name>[a-z0-9][a-z0-9._:/-]{0,254})/(?P<what>manifests|blobs)/(?P<reference>[^/]{1,256})\Z")
_TAGS = re.compile(r"(?P<name>[a-z0-9][a-z0-9._:/-]{0,254})/tags/list\Z")
_HEADERS = {"Docker-Distribution-Api-Version": "registry/2.0"}

Answer = Callable[[web.Request, Opened, str, str, str], web.StreamResponse]
"""Sends an open file: its name, its digest, its media type."""


class Registry:
    """Answers below ``/v2/``."""

    def __init__(self, store: ContainerStore, answer: Answer) -> None:
        self._store = store
        self._answer = answer

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD."""
        path = request.match_info["path"]
        if not path:
            return web.json_response({}, headers=_HEADERS)
        namespace = request.query.get("ns", "")
        if match := _TAGS.match(path):
            return self._tags(match["name"], namespace)
        if match := _PATH.match(path):
            there = self._named(match["name"], namespace)
            if not there:
                return _error(404, "NAME_UNKNOWN", f"no image {match['name']}; `provisioner container import FILE`")
            send = self._manifest if match["what"] == "manifests" else self._blob
            return send(request, there, match["reference"])
        return _error(404, "UNSUPPORTED", "this registry answers /v2/NAME/manifests|blobs/REFERENCE and tags/list")

    async def refuse(self, _: web.Request) -> web.StreamResponse:
        """Everything that writes."""
        return _error(
            405, "UNSUPPORTED", "this registry is read-only; `provisioner container import FILE` adds to it"
        )

    def _tags(self, name: str, namespace: str) -> web.StreamResponse:
        there = self._named(name, namespace)
        if not there:
            return _error(404, "NAME_UNKNOWN", f"no image {name}")
        tags = sorted(container.tag for container in there)
        return web.json_response({"name": name, "tags": tags}, headers=_HEADERS)

    def _manifest(self, request: web.Request, there: Sequence[Container], reference: str) -> web.StreamResponse:
        for container in there:
            digest = container.digest if reference == container.tag else reference
            if digest in container.manifests:
                return self._send(request, container, digest, container.manifests[digest])
        tags = ", ".join(sorted(container.tag for container in there))
        return _error(404, "MANIFEST_UNKNOWN", f"{there[0].name} has no {reference}; there is: {tags}")

    def _blob(self, request: web.Request, there: Sequence[Container], digest: str) -> web.StreamResponse:
        for container in there:
            if digest in container.blobs:
                return self._send(request, container, digest, "application/octet-stream")
        return _error(404, "BLOB_UNKNOWN", f"{there[0].name} has no {digest}")

    def _send(self, request: web.Request, container: Container, digest: str, kind: str) -> web.StreamResponse:
        try:
            opened = self._store.open(digest, container.blobs[digest])
        except Refused as refusal:
            return _error(503, "BLOB_UNKNOWN", str(refusal))
        answer = self._answer(request, opened, f"{container.name}:{container.tag}", digest, kind)
        answer.headers.update(_HEADERS | {"Docker-Content-Digest": digest})
        return answer

    def _named(self, name: str, namespace: str) -> list[Container]:
        """All tags of the repository that is meant."""
        everything = self._store.list()
        for wanted in (f"{namespace}/{name}", name):
            if found := [container for container in everything if container.name == wanted]:
                return found
        behind = [container for container in everything if container.name.partition("/")[2] == name]
        return behind if len({container.name for container in behind}) == 1 else []


def _error(status: int, code: str, message: str) -> web.StreamResponse:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status, headers=_HEADERS)
