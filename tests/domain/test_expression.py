"""Arithmetic for addresses: right, explained when it is wrong, and nothing but arithmetic."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.domain.errors import InvalidValue
from provisioner.domain.expression import NoValue, parse

VALUES = {"b1": 10, "b2": 12, "b3": 203, "b4": 5, "index": 700, "unit": 3}
terms = st.recursive(
    st.integers(0, 300).map(str) | st.sampled_from(sorted(VALUES)),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "%", " - "]), inner).map("".join)
        | inner.map(lambda text: f"({text})")
        | inner.map(lambda text: f"-{text}")
    ),
    max_leaves=12,
)


@given(terms)
def test_it_computes_what_python_computes(term: str) -> None:
    # "//" is Python's division of whole numbers; eval is the oracle here and nowhere else.
    try:
        wanted = eval(term.replace("/", "//"), {}, VALUES)
    except ZeroDivisionError:
        wanted = None
    try:
        read = parse(f"10.0.0.({term})")
    except InvalidValue as refused:
        assert "nested deeper" in str(refused) or "longer than" in str(refused)
        return
    if wanted is not None and 0 <= wanted <= 255:
        assert read.address(VALUES) == IPv4Address(bytes([10, 0, 0, wanted]))
    else:
        with pytest.raises(NoValue, match="octet 4" if wanted is not None else "divides by zero in octet 4"):
            read.address(VALUES)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.12.1", "has 3 octets, not 4"),
        ("10.12.1.2.3", "has 5 octets"),
        ("10.12.1.((b3-202)*28 + b4", "lacks a ')' at its end"),
        ("10.12.1.(b4", "lacks a ')'"),
        ("10.12.1.b5", "names 'b5', which is not known"),
        ("10.12.1.__import__('os')", "cannot be read from"),
        ("10.12.1.b4.__class__", "cannot be read from"),
        ("10.12.1.2**9", "lacks a number or name before '*9'"),
        ("10.12.1.", "ends where a number or name should be"),
        ("", "ends where a number or name should be"),
        ("10.12.1.b4)", "cannot be read from ')' on"),
        ("10.12.1." + "(" * 50 + "1" + ")" * 50, "nested deeper than 20"),
        ("10.12.1." + "-" * 50 + "1", "nested deeper than 20"),
        ("10.12.1." + "1+" * 200 + "1", "longer than 200"),
        ("10.12.1.\u0661", "cannot be read from"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_place(text: str, why: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse(text)
    assert why in str(refused.value)
    assert "10.12.1.((b3-202)*28 + b4)" in refused.value.remedy


@given(st.text(alphabet="b1234.()+-*/% indexut", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = parse(text)
    except InvalidValue:
        return
    try:
        read.address(VALUES)
    except NoValue:
        return


def test_a_missing_place_is_named() -> None:
    with pytest.raises(NoValue, match=r"has no blade \(blade of the slot\)"):
        parse("10.12.1.blade").address({"b4": 1})
