"""Refusals as RFC 9457 problem documents."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from provisioner.domain.errors import (
    BmcError,
    Conflict,
    IllegalTransition,
    InvalidValue,
    NotAdmitted,
    NotFound,
    PlanNeeded,
    Refused,
    StaleEdit,
    StoreUnavailable,
)
from provisioner.web.backoff import TooManyAttempts
from provisioner.web.body import TooLarge, TooSlow

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong (RFC 9457), the field and value at fault where there is one, and the remedy."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    value: str | None = None
    holder: str | None = None
    remedy: str | None = None


_KINDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (NotAdmitted, 403, "not-admitted", "Not admitted"),
    (NotFound, 404, "not-found", "Not found"),
    (InvalidValue, 422, "invalid-value", "Invalid value"),
    (PlanNeeded, 428, "plan-needed", "Look at what it changes first"),
    (StaleEdit, 412, "stale-edit", "Changed since it was read"),
    (Conflict, 409, "conflict", "Conflict"),
    (IllegalTransition, 409, "illegal-transition", "Not in this state"),
    (TooLarge, 413, "too-large", "Body too large"),
    (TooSlow, 408, "too-slow", "Body too slow"),
    (TooManyAttempts, 429, "too-many-attempts", "Too many attempts"),
    (BmcError, 502, "bmc", "The BMC did not do it"),
    (StoreUnavailable, 503, "store-unavailable", "The database is away"),
    (Refused, 409, "refused", "Refused"),
)
"""Most specific first."""


def problem(status: int, slug: str, title: str, detail: str, **members: str | None) -> Problem:
    """A document of our own kinds; the type is a name, not a page."""
    return Problem(type=f"urn:provisioner:problem:{slug}", title=title, status=status, detail=detail, **members)


def answer(document: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        document.model_dump(exclude_none=True), document.status, headers=headers, media_type=MEDIA_TYPE
    )


def of(error: Exception) -> Problem:
    """The document for any refusal of the domain."""
    status, slug, title = next((s, g, t) for kind, s, g, t in _KINDS if isinstance(error, kind))
    members: dict[str, str | None] = {
        name: str(getattr(error, name)) for name in ("field", "value", "holder") if hasattr(error, name)
    }
    if isinstance(error, Refused):
        members["remedy"] = error.remedy or None
    if slug == "store-unavailable":
        members["remedy"] = "try again; machines that are reserved or armed go on booting meanwhile"
    return problem(status, slug, title, str(error), **members)


def answer_to(error: Exception) -> JSONResponse:
    """The whole answer to a refusal, with Retry-After where waiting helps."""
    seconds = error.seconds if isinstance(error, TooManyAttempts) else 5
    document = of(error)
    return answer(document, {"Retry-After": str(seconds)} if document.status in (429, 503) else None)


def install(app: FastAPI) -> None:
    """Every refusal leaves the app as a problem document."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        return answer_to(error)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        first: dict[str, Any] = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "body"
        given = first.get("input")
        # A whole object may hold a password beside the field at fault; a password is never shown back.
        secret = "password" in where or not isinstance(given, str | int | float)
        document = problem(
            422,
            "invalid-value",
            "Invalid value",
            f"{where}: {first.get('msg', 'is not understood')}",
            field=where,
            value=None if secret else str(given)[:80],
            remedy="/openapi.json says what is taken",
        )
        return answer(document)

    async def plain(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "internal error"
        headers = error.headers if isinstance(error, HTTPException) else None
        return answer(problem(status, "http", detail, f"{request.method} {request.url.path}: {detail}"), headers)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(StoreUnavailable, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
