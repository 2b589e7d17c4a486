"""RFC 9110's conditions and ranges as a table."""

import pytest

from provisioner.images.conditions import Selection, Verdict, select

ETAG, MODIFIED = '"abc"', "Sat, 21 Nov 2026 04:05:19 GMT"
WHOLE = Selection(Verdict.WHOLE, 0, 100)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, WHOLE),
        ({"Range": "bytes=0-9"}, Selection(Verdict.PART, 0, 10)),
        ({"Range": "bytes=90-"}, Selection(Verdict.PART, 90, 10)),
        ({"Range": "bytes=90-500"}, Selection(Verdict.PART, 90, 10)),
        ({"Range": "bytes=99-99"}, Selection(Verdict.PART, 99, 1)),
        ({"Range": "bytes=-10"}, Selection(Verdict.PART, 90, 10)),
        ({"Range": "bytes=-500"}, Selection(Verdict.PART, 0, 100)),
        ({"Range": "Bytes=0-0"}, Selection(Verdict.PART, 0, 1)),
        ({"Range": "bytes=100-"}, Selection(Verdict.UNSATISFIABLE)),
        ({"Range": "bytes=-0"}, Selection(Verdict.UNSATISFIABLE)),
        ({"Range": "bytes=9-0"}, WHOLE),
        ({"Range": "bytes=-"}, WHOLE),
        ({"Range": "bytes=a-b"}, WHOLE),
        ({"Range": "lines=0-9"}, WHOLE),
        ({"Range": "bytes=0-9,20-29"}, WHOLE),
        ({"Range": "bytes=" + "9" * 400 + "-"}, WHOLE),
        ({"Range": "bytes=0-9", "If-Range": ETAG}, Selection(Verdict.PART, 0, 10)),
        ({"Range": "bytes=0-9", "If-Range": MODIFIED}, Selection(Verdict.PART, 0, 10)),
        ({"Range": "bytes=0-9", "If-Range": '"old"'}, WHOLE),
        ({"Range": "bytes=0-9", "If-Range": f"W/{ETAG}"}, WHOLE),
        ({"If-None-Match": ETAG}, Selection(Verdict.NOT_MODIFIED)),
        ({"If-None-Match": f'"x", W/{ETAG}'}, Selection(Verdict.NOT_MODIFIED)),
        ({"If-None-Match": "*"}, Selection(Verdict.NOT_MODIFIED)),
        ({"If-None-Match": '"x"'}, WHOLE),
        ({"If-None-Match": '"x"', "If-Modified-Since": MODIFIED}, WHOLE),
        ({"If-Modified-Since": MODIFIED}, Selection(Verdict.NOT_MODIFIED)),
        ({"If-Match": ETAG}, WHOLE),
        ({"If-Match": '"old"', "Range": "bytes=0-9"}, Selection(Verdict.PRECONDITION_FAILED)),
        ({"If-Match": f"W/{ETAG}"}, Selection(Verdict.PRECONDITION_FAILED)),
    ],
    ids=lambda value: ",".join(f"{k}:{v[:30]}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_what_a_get_wants(headers: dict[str, str], expected: Selection) -> None:
    assert select("GET", headers, 100, ETAG, MODIFIED) == expected


def test_a_head_has_no_ranges() -> None:
    assert select("HEAD", {"Range": "bytes=0-9"}, 100, ETAG, MODIFIED) == WHOLE


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=-5", "bytes=0-0"])
def test_an_empty_file_has_no_range(asked: str) -> None:
    assert select("GET", {"Range": asked}, 0, ETAG, MODIFIED).verdict is Verdict.UNSATISFIABLE
