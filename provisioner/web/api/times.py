"""Times as the API shows them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """UTC microseconds as a time with zone (RFC 3339 in JSON), without the rounding of floats."""
    return _EPOCH + timedelta(microseconds=microseconds)


def moment_or_none(microseconds: int | None) -> datetime | None:
    """None and 0 mean: never."""
    return moment(microseconds) if microseconds else None
