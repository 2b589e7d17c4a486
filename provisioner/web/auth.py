"""Who may use the people's app: bearer tokens for programs, sessions for browsers, nothing without either.

One gate stands before every route, so that a new route is closed until it is listed here as open. A request
that changes state and rides on a session must come from our own page (Sec-Fetch-Site, Origin) and carry the
session's CSRF token; a bearer token needs neither, because no browser sends one by itself.
"""

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioner.actions import accounts
from provisioner.actions.accounts import Access
from provisioner.domain.errors import NotAdmitted, Refused, StoreUnavailable
from provisioner.web import body, problems
from provisioner.web.backoff import Backoff, TooManyAttempts
from provisioner.web.parts import Parts

__all__ = [
    "Doorkeeper",
    "Gate",
    "TooManyAttempts",
    "access",
    "actor",
    "csrf_token",
    "end_session",
    "set_session",
]

COOKIE = "provisioner_session"
CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
FORM_LIMIT = 64 * 1024
_OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/login"})
"""Reachable without an account: they tell counts, never names."""
_OPEN_BELOW = ("/static/",)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # The one-time login link stands in an address: no other site may learn it.
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}


class Doorkeeper:
    """Log-in by password with back-off; one for each app. Blocking: call it from a plain (threaded) route."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._backoff = Backoff()

    def login(self, name: str, password: str, source: str) -> str:
        """A session's secret for the cookie. Raises TooManyAttempts, NotAdmitted."""
        with self._backoff.attempt(name, source, time.monotonic()):
            return accounts.login_by_password(self._parts.store, name, password, self._parts.clock())

    def login_by_link(self, token: str, password: str = "") -> str:
        """A session's secret for the cookie; see ``accounts.login_by_link``."""
        return accounts.login_by_link(self._parts.store, token, self._parts.clock(), password)


def set_session(response: Response, secret: str, *, secure: bool) -> None:
    """Hand the session to the browser; scripts can't read it."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=accounts.SESSION_FOR // 1_000_000,
        httponly=True,
        samesite="lax",
        secure=secure,
        path="/",
    )


def end_session(request: Request, response: Response, parts: Parts) -> None:
    """Log out: the secret dies here and in the browser. Blocking."""
    if secret := request.cookies.get(COOKIE):
        accounts.logout(parts.store, secret)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=parts.secure_cookies)


def csrf_token(request: Request) -> str:
    """What a form's field ``csrf`` or the header ``X-CSRF-Token`` must carry; empty without a session."""
    secret = request.cookies.get(COOKIE, "")
    return _csrf(secret) if secret else ""


def access(request: Request) -> Access:
    """Who asks; the gate put it there."""
    found: Access = request.state.access
    return found


def actor(request: Request) -> str:
    """``user:NAME`` or ``token:NAME``, for audit and events."""
    return access(request).actor


class Gate:
    """The ASGI middleware that lets in who may, and guards what a session does."""

    def __init__(
        self, app: ASGIApp, parts: Parts, away: Callable[[Request, Parts, StoreUnavailable], Response]
    ) -> None:
        """``away``: the page for a person who comes while the database is away."""
        self._app = app
        self._parts = parts
        self._away = away

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # Lifespan passes; there are no web sockets here, so nothing else can.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            inner = await self._admit(request)
        except StoreUnavailable as error:
            page = _reads_page(request) and not request.headers.get("HX-Request")
            away = self._away(request, self._parts, error) if page else problems.answer_to(error)
            await away(scope, receive, _hardened(send))
            return
        except Refused as error:
            await problems.answer_to(error)(scope, receive, _hardened(send))
            return
        if isinstance(inner, Response):
            await inner(scope, receive, _hardened(send))
            return
        await self._app(scope, inner, _hardened(send))

    async def _admit(self, request: Request) -> Receive | Response:
        """What the app may go on receiving from, or the refusal."""
        path = request.url.path
        is_open = path in _OPEN or path.startswith(_OPEN_BELOW)
        changes = request.method not in _SAFE
        if changes and not _bearer(request):
            _from_our_page(request)
        if is_open:
            return request.receive
        found = await self._access(request)
        if found is None:
            return _who_are_you(request)
        request.state.access = found
        if changes and found.session:
            return await _with_csrf(request)
        return request.receive

    async def _access(self, request: Request) -> Access | None:
        secret, kind = _bearer(request), "bearer"
        if not secret:
            secret, kind = request.cookies.get(COOKIE, ""), "session"
        if not secret:
            return None
        return await run_in_threadpool(accounts.access_by, self._parts.store, secret, kind, self._parts.clock())


def _bearer(request: Request) -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _from_our_page(request: Request) -> None:
    """Raises NotAdmitted for a browser that another site sent here. Programs send neither header."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    # "null" is the origin of sandboxed frames and of redirects across sites.
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host", "")
    if site not in ("same-origin", "none") or foreign:
        raise NotAdmitted(
            f"this request comes from another site ({origin or site})", "use the appliance's own page, or a token"
        )


async def _with_csrf(request: Request) -> Receive:
    """Check the session's token in header or form field. Raises NotAdmitted, TooLarge, TooSlow."""
    expected = csrf_token(request)
    given = request.headers.get(CSRF_HEADER, "")
    receive = request.receive
    if not given and request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        data = await body.whole(request, FORM_LIMIT)
        given = parse_qs(data.decode(errors="replace")).get(CSRF_FIELD, [""])[0]
        receive = _again(data, receive)
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise NotAdmitted(
            "the form's token is missing or is another session's", f"reload the page; programs send {CSRF_HEADER}"
        )
    return receive


def _again(data: bytes, receive: Receive) -> Receive:
    """The body once more for the app, then whatever follows (the disconnect)."""
    pending = [data]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed


def _reads_page(request: Request) -> bool:
    return request.method in _SAFE and "text/html" in request.headers.get("Accept", "")


def _who_are_you(request: Request) -> Response:
    if _reads_page(request):
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        login = "/login" if back == "/" else f"/login?next={quote(back)}"
        if request.headers.get("HX-Request"):
            return Response(status_code=401, headers={"HX-Redirect": login})
        return RedirectResponse(login, 303)
    document = problems.problem(
        401,
        "unauthorized",
        "Who are you?",
        "this needs a bearer token or a session",
        remedy="`provisioner token create` makes one; send Authorization: Bearer …",
    )
    return problems.answer(document, {"WWW-Authenticate": "Bearer"})


def _hardened(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sender


def _csrf(secret: str) -> str:
    digest = hmac.digest(hashlib.sha256(secret.encode()).digest(), b"provisioner csrf v1", "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
