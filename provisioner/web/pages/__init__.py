"""The page for people: every address on this screen. Routes parse, call one function, and render."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from provisioner.doctor.findings import Finding
from provisioner.domain.errors import InvalidValue, NotAdmitted, Refused
from provisioner.web import auth
from provisioner.web.pages import acts, lists, stream
from provisioner.web.pages.board import CONDITIONS, View
from provisioner.web.pages.changes import BoardWatch, DrawerWatch, Position
from provisioner.web.pages.desk import Board, Desk, Drawer
from provisioner.web.pages.looks import Looks
from provisioner.web.pages.render import STATIC, fragment, page
from provisioner.web.parts import Parts

_FOR_EVER = "public, max-age=31536000, immutable"


def router(parts: Parts) -> APIRouter:  # noqa: PLR0915 - every address on one screen
    """The page's routes. The gate of ``web.auth`` stands before them; they trust ``request.state.access``."""
    routes = APIRouter(include_in_schema=False)
    desk = Desk(parts)
    looks = Looks(desk)
    doorkeeper = auth.Doorkeeper(parts)
    files = StaticFiles(directory=STATIC)

    def machines(request: Request, view: View, drawer: Drawer | None = None) -> HTMLResponse:
        board = desk.board(view)
        return page(request, parts, "machines.html", here="machines", **_board_values(parts, board, drawer))

    @routes.get("/")
    def all_machines(request: Request, state: str = "", q: str = "", page: int = 1) -> Response:
        return machines(request, _view(state, q, page))

    @routes.get("/machines/{name}")
    def one_machine(request: Request, name: str) -> Response:
        machine = parts.snapshot.inventory.find(name)
        if machine is None:
            sentence = f"No machine is called {name}, nor has it as address or MAC."
            return _said(request, parts, 404, "Not listed", [sentence])
        drawer = desk.drawer(machine)
        if request.headers.get("HX-Request-Type") == "partial":
            return page(request, parts, "_drawer.html", drawer=drawer)
        return machines(request, View(), drawer)

    @routes.get("/stream/rows")
    async def changed_rows(
        request: Request, after: str = "", state: str = "", q: str = "", page: int = 1
    ) -> StreamingResponse:
        position = Position.parse(request.headers.get("Last-Event-ID", after))
        return stream.of_board(request, BoardWatch(looks, _view(state, q, page), position))

    @routes.get("/stream/machines/{name}")
    async def changed_machine(request: Request, name: str, after: str = "") -> StreamingResponse:
        position = Position.parse(request.headers.get("Last-Event-ID", after))
        return stream.of_drawer(request, DrawerWatch(desk, name, position))

    @routes.get("/confirm")
    def confirm(request: Request, do: str, m: Annotated[list[str] | None, Query()] = None) -> Response:
        names = list(dict.fromkeys(m or []))
        try:
            act = acts.for_many(acts.act_named(do), len(names))
        except InvalidValue as refusal:
            return _said(request, parts, 422, "Not done", [str(refusal)])
        if not names:
            return _said(
                request, parts, 422, "No machine selected", ["Tick at least one machine, or press x on it."]
            )
        return page(request, parts, "confirm.html", act=act, names=names)

    @routes.post("/act")
    def do_it(
        request: Request,
        do: Annotated[str, Form()],
        m: Annotated[list[str] | None, Form()] = None,
        typed: Annotated[str, Form()] = "",
        wipe: Annotated[str, Form()] = "",
    ) -> Response:
        names = list(dict.fromkeys(m or []))
        try:
            act = acts.act_named(do)
            acts.sure(act, names, typed)
        except InvalidValue as refusal:
            return _said(request, parts, 422, "Not done", [str(refusal)], back=_back(names))
        outcomes = acts.perform(parts, act, names, wipe=wipe == "yes", actor=auth.actor(request))
        refused = [outcome for outcome in outcomes if not outcome.done]
        if not refused:
            return RedirectResponse(_back(names), 303)
        if len(outcomes) == 1:
            return _said(request, parts, 409, "Not done", [refused[0].sentence], back=_back(names))
        heading = f"{len(outcomes) - len(refused)} of {len(outcomes)} done"
        table = [(outcome.name, outcome.done, outcome.sentence) for outcome in outcomes]
        return page(
            request, parts, "said.html", status=409, heading=heading, sentences=[], outcomes=table, back="/"
        )

    @routes.get("/subnets")
    def subnets(request: Request) -> Response:
        return page(request, parts, "list.html", here="subnets", **lists.subnets(parts))

    @routes.get("/bmcs")
    def bmcs(request: Request) -> Response:
        return page(request, parts, "list.html", here="bmcs", **lists.bmcs(parts))

    @routes.get("/doctor")
    def doctor(request: Request) -> Response:
        report = parts.checkup.latest if parts.checkup else None
        return page(request, parts, "doctor.html", here="doctor", report=report)

    @routes.post("/doctor")
    def examine() -> Response:
        if parts.checkup:
            parts.checkup.look(deep=True)
        return RedirectResponse("/doctor", 303)

    @routes.get("/login")
    def login_form(request: Request, token: str = "", next: str = "/") -> Response:  # noqa: A002 - in the address
        return page(request, parts, "login.html", token=token, next=_local(next), name="", problem="")

    @routes.post("/login")
    def login(
        request: Request,
        password: Annotated[str, Form()],
        name: Annotated[str, Form()] = "",
        token: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",  # noqa: A002 - in the form
    ) -> Response:
        source = request.client.host if request.client else ""
        headers = {}
        try:
            secret = (
                doorkeeper.login_by_link(token, password) if token else doorkeeper.login(name, password, source)
            )
        except Refused as refusal:
            status = 403 if isinstance(refusal, NotAdmitted) else 422
            if isinstance(refusal, auth.TooManyAttempts):
                status, headers = 429, {"Retry-After": str(refusal.seconds)}
            answer: Response = page(
                request,
                parts,
                "login.html",
                status=status,
                # A link that is used up leads nowhere: offer the password instead.
                token=token if status == 422 else "",
                next=_local(next),
                name=name,
                problem=_sentence(str(refusal)),
            )
            answer.headers.update(headers)
            return answer
        answer = RedirectResponse(_local(next), 303)
        auth.set_session(answer, secret, secure=parts.secure_cookies)
        return answer

    @routes.post("/logout")
    def logout(request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        auth.end_session(request, answer, parts)
        return answer

    @routes.get("/static/{path:path}")
    async def static(request: Request, path: str, v: str = "") -> Response:
        answer = await files.get_response(path, request.scope)
        answer.headers["Cache-Control"] = _FOR_EVER if v else "no-cache"
        return answer

    return routes


def _view(state: str, q: str, page: int) -> View:
    """Anything that is not a word of ours filters nothing."""
    return View(state if state in CONDITIONS else "", q.strip()[:200], max(1, page))


def _board_values(parts: Parts, board: Board, drawer: Drawer | None) -> dict[str, Any]:
    position = Position(board.readings.cursor, board.order)
    return {
        "view": board.view,
        "selection": board.selection,
        "strip": board.strip,
        "rows": board.rows,
        "now": board.now,
        "available": board.readings.available,
        "rogues": board.rogues,
        "lease_fault": board.lease_fault,
        "problems": _problems(parts, board),
        "has_subnets": bool(parts.snapshot.inventory.subnets),
        "stream_url": board.view.url("/stream/rows", after=str(position)),
        "drawer": drawer,
    }


def _problems(parts: Parts, board: Board) -> list[Finding]:
    """What the doctor found last; another DHCP server only while the board itself does not tell of it."""
    report = parts.checkup.latest if parts.checkup else None
    found = report.problems if report else ()
    return [finding for finding in found if not (board.rogues and finding.check == "other-dhcp")]


def _said(
    request: Request, parts: Parts, status: int, heading: str, sentences: list[str], back: str = "/"
) -> HTMLResponse:
    told = [_sentence(sentence) for sentence in sentences]
    if request.headers.get("HX-Request-Type") == "partial":
        return HTMLResponse(fragment("_said.html", heading=heading, sentences=told), status)
    return page(request, parts, "said.html", status=status, heading=heading, sentences=told, outcomes=[], back=back)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _back(names: list[str]) -> str:
    return View().url(f"/machines/{names[0]}") if len(names) == 1 else "/"


def _local(address: str) -> str:
    """Only an address of our own may be gone to after logging in."""
    inside = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if inside else "/"
