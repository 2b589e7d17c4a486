"""Two readers of YAML, a quick one and one that knows places: the same data, and no fault that only one sees."""

import pytest
from ruamel.yaml import YAML

from provisioner.boot.document import InvalidDocument, read

TRICKY = (
    "mac: 52:54:00:12:34:56",
    "minutes: 12:30",
    "octal: 0644",
    "new_octal: 0o644",
    "hex: 0x1F",
    "spoken: [yes, on, Off, true]",
    "nothing: [~, null, '']",
    "quoted: 'yes'",
    "number: [1_000, 1.50, -3, .inf]",
    "date: [2024-01-02, 2024-01-02 03:04:05]",
    "block: |\n  a\n   b\n\nfolded: >-\n  a\n  b\n",
    "flow: {a: [1, two, 'three'], 'b': {}}",
    "anchored: &x [1, 2]\nagain: *x\n",
    "merged: {<<: {k: v}, l: w}",
)


@pytest.mark.parametrize("version", [None, (1, 1)], ids=["1.2", "1.1"])
@pytest.mark.parametrize("text", TRICKY)
def test_both_readers_see_the_same(text: str, version: tuple[int, int] | None) -> None:
    slow = YAML(typ="rt")
    if version is not None:
        slow.version = version
    assert read(text, "x.yml", version=version).data == slow.load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yml:3: a: is written twice"),
        ("a-b: 1\na_b: 2\n", "is written twice"),
        ("a:\n\tb: 1\n", "x.yml:2: indented with a tab"),
        ("a: 1\n---\nb: 2\n", "a second document begins here"),
        ("a: [1, 2\n", "not YAML"),
        ("- a\n", "holds no mapping"),
        ("", "holds no mapping"),
        ("a: *nobody\n", "not YAML"),
        ("a: \x01\n", "not YAML"),
        ("a: &a [x, x, x, x, x, x, x, x]\n" + "".join(f"{n}: &{n} [{','.join(8 * ['*' + m])}]\n" for m, n in (
            ("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"))), "unfolds to more than"),
    ],
)  # fmt: skip
def test_what_is_faulty_is_told_with_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidDocument, match=says):
        read(text, "x.yml", key=lambda name: name.replace("-", "_"))


def test_a_document_without_faults_still_knows_its_lines() -> None:
    document = read("a: 1\nb:\n  c: [1,\n    2]\n", "x.yml")
    assert [document.line_of(path) for path in (("a",), ("b", "c"), ("b", "c", 1))] == [1, 3, 4]
