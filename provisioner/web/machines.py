"""What machines ask over HTTP: boot script, compiled files, callbacks, loaders. Plain text, no accounts.

A machine is known by its token and its place on the wire (design part 5). Answers carry the server's ``Date``
(uvicorn's default headers), from which install.sh sets the clock.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from provisioner.actions import deliver, joining, look, newcomers, record_report
from provisioner.actions.front import Front
from provisioner.actions.happening import What
from provisioner.actions.record_report import LOG_BYTES, Said
from provisioner.boot import menu, pki
from provisioner.boot.script import explain_script, script_for
from provisioner.domain.boot import Action
from provisioner.domain.errors import InvalidValue, NotAdmitted, NotFound, Refused, StoreUnavailable
from provisioner.domain.mac import Mac
from provisioner.domain.machine import PHASES, IPAddress, Phase
from provisioner.domain.tokens import fill
from provisioner.web import body
from provisioner.web.console import Console
from provisioner.web.parts import Parts

REPORT_LIMIT = 64 * 1024
LOG_CEILING = 16 * 1024 * 1024
MESSAGE_LIMIT = 4000


def create_machines_app(parts: Parts) -> Starlette:
    """The app for port 80 of each wire."""
    door = _Door(parts)
    token, role = "/b/{token}", "/config/{role}"
    return Starlette(
        routes=[
            Route("/boot.ipxe", door.boot_script),
            Route("/menu/{given}/{role}", door.chosen, methods=["GET"]),
            Route("/discovered", door.discovered),
            Route("/boot/{part}", door.first_config, methods=["GET"]),
            Route(f"{token}/progress", door.report(What.PROGRESS), methods=["POST"]),
            Route(f"{token}/log", door.report(What.LOG), methods=["POST"]),
            Route(f"{token}/complete", door.report(What.COMPLETE), methods=["POST"]),
            Route(f"{token}/failed", door.report(What.FAILED), methods=["POST"]),
            Route(f"{token}/{{part:path}}", door.file, methods=["GET"]),
            Route("/m/{token}/joining/{secret}", door.joining, methods=["GET"]),
            Route("/m/{token}/active", door.report(What.ACTIVE), methods=["POST"]),
            # Yoo-Installer's URLs.
            Route(f"{role}/pxe.yml", door.file_of_role("pxe.yml"), methods=["GET"]),
            Route(f"{role}/pxe.sh", door.file_of_role("install.sh"), methods=["GET"]),
            Route(f"{role}/config.yml", door.file_of_role("config.yml"), methods=["GET"]),
            Route("/utils/networking", door.file_of_role("network"), methods=["GET"]),
            Route("/notify/finish", door.finish, methods=["GET", "POST"]),
            Route("/loaders/{file}", door.loader),
            Route("/healthz", lambda _: PlainTextResponse("ok\n")),
        ],
        exception_handlers={
            Refused: _refused,
            StoreUnavailable: _unavailable,
            HTTPException: _no_such_door,
        },
    )


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks and which of our addresses was reached."""

    source: IPAddress
    server: str
    now: int


class _Door:
    """The handlers. Plain functions run in Starlette's threads, where the database may be waited for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._front = Front(
            parts.store,
            parts.snapshot,
            parts.observer,
            parts.journal,
            parts.token_key,
            parts.neighbour,
            parts.compiler,
            parts.arm_hours,
            lambda name, cluster: pki.secret(parts.token_key, cluster, name),
        )
        self._console = Console(self._front)

    def boot_script(self, request: Request) -> Response:
        who = self._asker(request)
        query = request.query_params
        ask = query.get("menu") != menu.PAST
        answer = deliver.boot_script(self._front, query, who.source, who.server, who.now, ask=ask)
        if answer.shown is not None and answer.machine is not None:
            return _text(self._console.menu(answer, Mac.parse(query["mac"]), who.server, who.now))
        if answer.script is not None:
            return _text(answer.script)
        return _text(fill(script_for(answer.plan), install_token="", machine_token="", server=who.server))

    def chosen(self, request: Request) -> Response:
        """What somebody chose at the console."""
        who = self._asker(request)
        return self._console.chosen(request, who.source, who.server, who.now)

    def discovered(self, request: Request) -> Response:
        """What a newcomer's loader tells; the answer is what it boots next."""
        who = self._asker(request)
        hardware = newcomers.told(request.query_params)
        machine, plan = newcomers.describe_newcomer(self._front, hardware, who.source, who.now)
        script, reason = None, plan.reason
        if plan.action is Action.DISCOVER and machine.approved:
            reason += f"; it is listed as {machine.name}"
            script, why = look.begun(self._front, machine, who.source, who.server, who.now)
            reason += why
        if script is None:
            script = explain_script(reason).encode()
        return _text(fill(script, install_token="", machine_token="", server=who.server))

    def first_config(self, request: Request) -> Response:
        who = self._asker(request)
        part = request.path_params["part"]
        return _text(deliver.first_config(self._front, part, request.query_params, who.source, who.server, who.now))

    async def file(self, request: Request) -> Response:
        """What only reads memory is answered at once: a thread's turn costs more than the answer."""
        who = self._asker(request)
        token, part = request.path_params["token"], request.path_params["part"]
        asked = (self._front, token, part, who.source, who.server, who.now)
        if deliver.waits(token, part):
            return _text(await run_in_threadpool(deliver.file_by_token, *asked))
        return _text(deliver.file_by_token(*asked))

    def file_of_role(self, part: str) -> Callable[[Request], Response]:
        def handler(request: Request) -> Response:
            who = self._asker(request)
            role = request.path_params.get("role", "")
            return _text(deliver.file_by_address(self._front, role, part, who.source, who.server, who.now))

        return handler

    def report(self, what: What) -> Callable[[Request], Any]:
        async def handler(request: Request) -> Response:
            who = self._asker(request)
            said = await _said(request, what)
            stored = await run_in_threadpool(
                record_report.by_token, self._front, request.path_params["token"], said, who.source, who.now
            )
            return _recorded(stored)

        return handler

    def joining(self, request: Request) -> Response:
        """For a control plane: a line ``TOKEN NAME`` for each machine that is about to join its cluster."""
        who = self._asker(request)
        token, secret = request.path_params["token"], request.path_params["secret"]
        rows = joining.joining(self._front, token, secret, who.source, who.now)
        return _text("".join(f"{row.token} {row.name}\n" for row in rows).encode())

    def finish(self, request: Request) -> Response:
        who = self._asker(request)
        return _recorded(record_report.by_address(self._front, Said(What.COMPLETE), who.source, who.now))

    def loader(self, request: Request) -> Response:
        name = request.path_params["file"]
        root = self._parts.loaders
        # Listed, not joined: no spelling of a name reaches a file that the directory does not show.
        there = {entry.name for entry in root.iterdir() if entry.is_file() and not entry.is_symlink()}
        if name not in there:
            raise NotFound("loader", name, f"there are: {', '.join(sorted(there)) or 'none; run `make setup`'}")
        return FileResponse(root / name, media_type="application/efi" if name.endswith(".efi") else None)

    def _asker(self, request: Request) -> _Asker:
        if request.client is None:
            raise NotAdmitted("the request has no source address", "ask over TCP")
        source = ip_address(request.client.host)
        if isinstance(source, IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        server = request.scope["server"]
        return _Asker(source, server[0].removeprefix("::ffff:"), self._parts.clock())


async def _said(request: Request, what: What) -> Said:
    if what is What.LOG:
        # Bytes, not text: a log that a failing program wrote may hold anything. NUL fits no database's text.
        log = await body.tail(request, LOG_BYTES, LOG_CEILING)
        return Said(what, text=log.decode(errors="replace").replace("\0", "\ufffd"))
    data = await body.whole(request, REPORT_LIMIT)
    fields = _object(data) if data.strip() else {}
    message = fields.get("reason" if what is What.FAILED else "message", "")
    return Said(what, _phase(fields.get("phase")), _percent(fields.get("percent")), _sentence(message))


def _object(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("body", data[:80].decode(errors="replace"), "is not JSON", "send an object") from error
    if not isinstance(fields, dict):
        raise InvalidValue("body", data[:80].decode(errors="replace"), "is no JSON object", 'send {"phase": …}')
    return fields


def _phase(value: object) -> Phase | None:
    if value is None or value == "":
        return None
    try:
        return Phase(str(value))
    except ValueError as error:
        raise InvalidValue("phase", str(value)[:40], "is no phase", f"one of {', '.join(PHASES)}") from error


def _percent(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise InvalidValue("percent", str(value)[:40], "is no percentage", "give a whole number from 0 to 100")
    return value


def _sentence(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValue("message", str(value)[:40], "is not text", "send a string")
    return value[:MESSAGE_LIMIT].replace("\0", "\ufffd").encode(errors="replace").decode()


def _text(data: bytes) -> Response:
    return Response(data, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})


def _recorded(stored: bool) -> Response:
    if stored:
        return PlainTextResponse("recorded\n")
    return PlainTextResponse("kept until the database is back\n", 202)


def _refused(_: Request, error: Exception) -> Response:
    status = {NotAdmitted: 403, NotFound: 404, InvalidValue: 400, body.TooLarge: 413, body.TooSlow: 408}
    return PlainTextResponse(f"{error}\n", status.get(type(error), 409))


def _unavailable(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}; ask again\n", 503, headers={"Retry-After": "5"})


def _no_such_door(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    headers = error.headers if isinstance(error, HTTPException) else None
    return PlainTextResponse(f"{request.method} {request.url.path}: {status}\n", status, headers=headers)
