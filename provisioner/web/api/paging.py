"""Cursor paging: a page names the last key it shows, the next one begins behind it."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

T = TypeVar("T")
S = TypeVar("S")

After = Annotated[str, Query(description="The `next` of the page before.", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on a page.")]


class Page(BaseModel, Generic[T]):
    """Some items, and where the next page begins (null: that was all)."""

    items: list[T]
    next: str | None = None


def cut(items: Sequence[S], key: Callable[[S], str], after: str, limit: int, show: Callable[[S], T]) -> Page[T]:
    """The page behind ``after`` in the order of ``key``. An item that vanished meanwhile loses nobody's place."""
    ordered = sorted(items, key=key)
    start = bisect_right(ordered, after, key=key) if after else 0
    shown = ordered[start : start + limit]
    more = start + limit < len(ordered)
    return Page[T](items=[show(item) for item in shown], next=key(shown[-1]) if more else None)
