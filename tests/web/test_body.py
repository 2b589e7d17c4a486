"""Bodies within bounds of size and time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request

from provisioner.web.body import TooLarge, TooSlow, tail, whole


def request(chunks: Sequence[bytes], then: str = "end") -> Request:
    """A body in these chunks that ends, hangs, or whose sender leaves."""
    pending = list(chunks)

    async def receive() -> dict[str, Any]:
        if pending:
            return {"type": "http.request", "body": pending.pop(0), "more_body": True}
        if then == "hang":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"} if then == "leave" else {"type": "http.request", "body": b""}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_whole_up_to_the_limit() -> None:
    assert asyncio.run(whole(request([b"ab", b"cd"]), 4)) == b"abcd"
    with pytest.raises(TooLarge):
        asyncio.run(whole(request([b"ab", b"cde"]), 4))


def test_the_tail_is_exact_however_it_is_cut() -> None:
    data = bytes(range(256)) * 40
    for size in (1, 7, 100, 5000, len(data)):
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        assert asyncio.run(tail(request(chunks), 1000, 100_000)) == data[-1000:]
    with pytest.raises(TooLarge):
        asyncio.run(tail(request([data]), 1000, 5000))


@pytest.mark.rule("fault-18")
@pytest.mark.parametrize("then", ["hang", "leave"])
def test_a_body_that_never_ends_is_given_up(then: str) -> None:
    with pytest.raises(TooSlow):
        asyncio.run(whole(request([b"ab"], then), 100, seconds=0.02))
