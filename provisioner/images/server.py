"""The bulk file server: images and payload over HTTP/1.1 by the kernel's sendfile.

It runs on asyncio's own loop, never uvloop: that one has no sendfile. A file is opened once, and its length,
ETag and bytes all come from that descriptor, so an answer never mixes two versions.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from prometheus_client import CONTENT_TYPE_LATEST

from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.domain.machine import IPAddress
from provisioner.domain.ports import Observer, SnapshotSource
from provisioner.images.beneath import Forbidden, Missing, Opened, Root
from provisioner.images.conditions import Selection, Verdict, select
from provisioner.images.containers import ContainerStore
from provisioner.images.descriptors import allow_descriptors
from provisioner.images.payload import PayloadStore
from provisioner.images.readers import Readers
from provisioner.images.registry import Registry
from provisioner.images.store import ImageStore
from provisioner.images.traffic import Traffic

log = structlog.get_logger(__name__)

HEADER_SECONDS = 20.0
"""From connecting, or from the last answer, to the end of the next request's headers (fault-17)."""
LINGER_SECONDS = 1.0
"""A refused request's body is read for so long: closed at once, the client would see a reset and no reason."""
DRAIN_SECONDS = 30.0
"""Running downloads get this long when the service is stopped."""

DESCRIPTORS = 65536
"""A connection each, and a file while one is sent."""

_TYPES = {".txt": "text/plain; charset=utf-8", ".json": "application/json"}


@dataclass(frozen=True, slots=True)
class _Served:
    """An open file and the validators that belong to this descriptor."""

    opened: Opened
    name: str
    etag: str
    modified: str
    kind: str = ""
    """Media type; empty: by the name's ending."""


def create_app(
    store: ImageStore,
    payload: PayloadStore,
    snapshot: SnapshotSource,
    observer: Observer,
    clock: Callable[[], int],
    containers: ContainerStore,
    traffic: Traffic,
) -> web.Application:
    """The routes. ``clock``: UTC microseconds, for events."""
    payload_root = Root(payload.root)
    readers = Readers(snapshot, observer, clock)

    async def image(request: web.Request) -> web.StreamResponse:
        part = request.match_info
        opened, entry = store.open(part["image"], part["version"], part["file"])
        return _answer(
            request, _Served(opened, entry.name, f'"{entry.sha256}"', _modified(opened)), readers, traffic
        )

    async def payload_file(request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if any(part.startswith(".") for part in path.split("/")):
            raise Missing(f"no file {path!r}")
        opened = payload_root.open(path)
        entry = payload.manifest().get(path)
        if entry is not None and opened.size != entry.size:
            opened.close()
            raise Refused(
                f"{path} has {opened.size} bytes, was added with {entry.size}", "`provisioner payload add` it again"
            )
        status = os.fstat(opened.fd)
        etag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
        return _answer(request, _Served(opened, path, etag, _modified(opened)), readers, traffic)

    async def sums(_: web.Request) -> web.StreamResponse:
        return web.Response(text=payload.sums())

    def container(request: web.Request, opened: Opened, name: str, digest: str, kind: str) -> web.StreamResponse:
        return _answer(request, _Served(opened, name, f'"{digest}"', _modified(opened), kind), readers, traffic)

    registry = Registry(containers, container)

    async def metrics(_: web.Request) -> web.StreamResponse:
        return web.Response(body=traffic.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        there = ", ".join(f"/images/{image.name}/{image.version}/" for image in store.list())
        remedy = f"images are: {there or 'none yet'}; payload is under /payload/"
        raise NotFound("file", request.path, remedy)

    async def close_payload(_: web.Application) -> None:
        payload_root.close()

    app = web.Application(middlewares=[_explained])
    app.router.add_get("/images/{image}/{version}/{file}", image)
    app.router.add_get("/payload/SHA256SUMS", sums)
    app.router.add_get("/payload/{path:.+}", payload_file)
    app.router.add_get("/v2/{path:.*}", registry.get)
    app.router.add_route("*", "/v2/{path:.*}", registry.refuse)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/{path:.*}", elsewhere)
    app.on_cleanup.append(close_payload)
    return app


@web.middleware
async def _explained(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refusals as plain text: machines and people with curl read them."""
    try:
        return await handler(request)
    except (NotFound, Missing) as refusal:
        return web.Response(status=404, text=f"{refusal}\n")
    except Forbidden as refusal:
        return web.Response(status=403, text=f"{refusal}\n")
    except Refused as refusal:
        log.warning("images: not served", path=request.path, reason=str(refusal))
        return web.Response(status=503, text=f"{refusal}\n")


def _answer(request: web.Request, served: _Served, readers: Readers, traffic: Traffic) -> web.StreamResponse:
    size = served.opened.size
    selection = select(request.method, request.headers, size, served.etag, served.modified)
    headers = {"ETag": served.etag, "Last-Modified": served.modified, "Accept-Ranges": "bytes"}
    verdict = selection.verdict
    if verdict in (Verdict.WHOLE, Verdict.PART):
        if verdict is Verdict.PART:
            last = selection.offset + selection.length - 1
            headers["Content-Range"] = f"bytes {selection.offset}-{last}/{size}"
        headers["Content-Type"] = served.kind or _TYPES.get(Path(served.name).suffix, "application/octet-stream")
        if request.method == "GET" and selection.offset == 0 and (ip := _remote(request)) is not None:
            readers.began(ip, request.path, served.name, selection.length)
        return SendfileResponse(served.opened, selection, headers, traffic)
    served.opened.close()
    if verdict is Verdict.UNSATISFIABLE:
        headers["Content-Range"] = f"bytes */{size}"
        return web.Response(status=416, headers=headers, text=f"{served.name} has {size} bytes\n")
    return web.Response(status=verdict.value, headers=headers)


class SendfileResponse(web.StreamResponse):
    """A part of an open file; closes it. aiohttp's own FileResponse makes another ETag from the path's mtime,
    knows no If-Range by ETag, and sends FILE.gz to clients that accept gzip: a kernel must not change so.
    """

    def __init__(self, opened: Opened, selection: Selection, headers: dict[str, str], traffic: Traffic) -> None:
        super().__init__(status=selection.verdict.value, headers=headers)
        self.content_length = selection.length
        self._file = os.fdopen(opened.fd, "rb", buffering=0)
        self._selection = selection
        self._traffic = traffic

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        with self._file as file:
            transport = request.transport
            if transport is None:
                raise ConnectionResetError("the client is gone")
            sock = transport.get_extra_info("socket")
            offset, length = self._selection.offset, self._selection.length
            if request.method != "GET" or not length:
                return await super().prepare(request)
            async with self._traffic.sending(_remote(request), length, sock) as sending:
                writer = await super().prepare(request)
                try:
                    loop = asyncio.get_running_loop()
                    await loop.sendfile(transport, file, offset, length, fallback=False)
                finally:
                    # sendfile leaves the position behind what was sent, also when the client went away.
                    sending.done = max(0, file.tell() - offset)
                await super().write_eof()
                return writer


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, header_seconds: float = HEADER_SECONDS
) -> AsyncIterator[int]:
    """The app on a port, inside a running loop; gives the port. Raises InvalidValue."""
    allow_descriptors(DESCRIPTORS)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=header_seconds,
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=DRAIN_SECONDS,
    )
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            raise InvalidValue(
                "images.listen",
                f"{host}:{port}",
                f"cannot be listened on ({os.strerror(error.errno or 0)})",
                f"see who has it: `ss -ltnp sport = :{port}`, or set images.listen to another port",
            ) from error
        bound: int = runner.addresses[0][1]
        yield bound
    finally:
        await runner.cleanup()


def _modified(opened: Opened) -> str:
    return formatdate(os.fstat(opened.fd).st_mtime, usegmt=True)


def _remote(request: web.BaseRequest) -> IPAddress | None:
    """Who asks; an IPv4 client of an IPv6 socket by its IPv4 address."""
    if not request.remote:
        return None
    ip = ip_address(request.remote.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
