"""Which bytes of a file a request wants: RFC 9110 §13 (conditions) and §14 (ranges), without a socket."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

_RANGE = re.compile(r"^bytes=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*$", re.IGNORECASE)


class Verdict(Enum):
    """What to answer; the values are status codes."""

    WHOLE = 200
    PART = 206
    NOT_MODIFIED = 304
    PRECONDITION_FAILED = 412
    UNSATISFIABLE = 416


@dataclass(frozen=True, slots=True)
class Selection:
    """The verdict and, for WHOLE and PART, the bytes."""

    verdict: Verdict
    offset: int = 0
    length: int = 0


def select(method: str, headers: Mapping[str, str], size: int, etag: str, modified: str) -> Selection:
    """Decide. ``etag``: with its quotes, strong; ``modified``: as sent in Last-Modified.

    In the order of RFC 9110 §13.2.2. Several ranges at once are answered with the whole (§14.2 allows it);
    so is a range that cannot be read.
    """
    if (wanted := headers.get("If-Match")) is not None and not _lists(wanted, etag, weak=False):
        return Selection(Verdict.PRECONDITION_FAILED)
    if (known := headers.get("If-None-Match")) is not None:
        if _lists(known, etag, weak=True):
            return Selection(Verdict.NOT_MODIFIED)
    elif headers.get("If-Modified-Since") == modified:
        return Selection(Verdict.NOT_MODIFIED)
    asked = headers.get("Range")
    # §14.2: Range is defined for GET only. §13.1.5: If-Range needs a strong or an exact match.
    if asked is None or method != "GET" or headers.get("If-Range", etag) not in (etag, modified):
        return Selection(Verdict.WHOLE, 0, size)
    return _part(asked, size)


def _part(asked: str, size: int) -> Selection:
    match = _RANGE.match(asked)
    first, last = match.groups() if match else ("", "")
    # §14.1.1: a range that ends before it begins is invalid, and an invalid one is ignored.
    if not (first or last) or (first and last and int(last) < int(first)):
        return Selection(Verdict.WHOLE, 0, size)
    start = int(first) if first else max(0, size - int(last))
    if start >= size:
        return Selection(Verdict.UNSATISFIABLE)
    end = min(int(last) + 1, size) if first and last else size
    return Selection(Verdict.PART, start, end - start)


def _lists(field: str, etag: str, *, weak: bool) -> bool:
    if field.strip() == "*":
        return True
    tags = [tag.strip() for tag in field.split(",")]
    return etag in tags or (weak and f"W/{etag}" in tags)
