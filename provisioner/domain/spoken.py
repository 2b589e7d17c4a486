"""Times and spans as people read them. Times are UTC microseconds, spans microseconds."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def span(microseconds: int) -> str:
    """One number with its unit: ``12 s``, ``4 min``, ``3 h``, ``2 d``."""
    microseconds = max(0, microseconds)
    for unit, size, enough in (("s", SECOND, 2 * MINUTE), ("min", MINUTE, 2 * HOUR), ("h", HOUR, 2 * DAY)):
        if microseconds < enough:
            return f"{microseconds // size} {unit}"
    return f"{microseconds // DAY} d"


def exact(at: int) -> str:
    """``2026-03-01 10:42:07 UTC``."""
    return _moment(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: int) -> str:
    """For ``<time datetime>``."""
    return _moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at: int) -> str:
    """``10:42:07``."""
    return _moment(at).strftime("%H:%M:%S")


def day(at: int) -> str:
    """``1 March 2026, UTC``: the heading above a day's entries."""
    moment = _moment(at)
    return f"{moment.day} {moment:%B %Y}, UTC"


def detail(data: Mapping[str, Any]) -> str:
    """An event's data, one ``key: value`` a line, nested values as indented JSON."""
    return "\n".join(
        f"{key}: {value if isinstance(value, str | int | float) else json.dumps(value, indent=2, default=str)}"
        for key, value in data.items()
    )


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / SECOND, UTC)
