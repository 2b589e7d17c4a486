"""The console's escape sequence: what ends it, and what reaches the server untouched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.bmc.keys import Keys, Typed


@pytest.mark.parametrize(
    ("typed", "pieces"),
    [
        (b"~.", [Typed(b"", "end")]),
        (b"ls\r~.", [Typed(b"ls\r", "end")]),
        (b"~B", [Typed(b"", "break")]),
        (b"a\n~?b", [Typed(b"a\n", "help"), Typed(b"b")]),
        (b"~~.", [Typed(b"~.")]),
        (b"cd ~.", [Typed(b"cd ~.")]),  # not at the start of a line
        (b"~x", [Typed(b"~x")]),
    ],
)
def test_sequences(typed: bytes, pieces: list[Typed]) -> None:
    assert Keys().typed(typed) == pieces


@given(st.lists(st.binary(max_size=5), max_size=8))
def test_pieces_mean_what_the_whole_means(parts: list[bytes]) -> None:
    def said(pieces: list[Typed]) -> tuple[bytes, list[str]]:
        return b"".join(piece.send for piece in pieces), [piece.act for piece in pieces if piece.act]

    whole, keys = Keys(), Keys()
    assert said(whole.typed(b"".join(parts))) == said([piece for part in parts for piece in keys.typed(part)])


@given(st.binary(max_size=40).filter(lambda data: b"~" not in data))
def test_without_a_tilde_everything_reaches_the_server(data: bytes) -> None:
    assert b"".join(piece.send for piece in Keys().typed(data)) == data
