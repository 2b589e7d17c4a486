"""ETag and If-Match: an edit says which version it was made from (RFC 9110 §13.1.1)."""

import re
from typing import Annotated

from fastapi import Header, Query, Response

from provisioner.domain.errors import StaleEdit

_ETAG = re.compile(r'"(\d{1,9})"\Z')

IfMatch = Annotated[
    str | None,
    Header(description="ETag of what was read; refused with 412 if it was changed since. Left out: last one wins."),
]

Plan = Annotated[
    str, Query(description="Hash of what POST …/plan showed; needed where the edit changes what machines are told.")
]


def tag(response: Response, version: int) -> None:
    """Put the version of intent on an answer. Progress of an install does not change it."""
    response.headers["ETag"] = f'"{version}"'


def expected(if_match: str | None) -> int | None:
    """The version that the edit was made from; None: any. Raises StaleEdit for what is no ETag of ours."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.match(if_match.strip())
    if found is None:
        raise StaleEdit(f"If-Match {if_match[:40]!r} is no ETag of this", "read it again and send its ETag")
    return int(found[1])
