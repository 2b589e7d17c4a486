"""The commands that page, doctor and diagnose tell people to type are commands that there are."""

import re
from pathlib import Path

import pytest

import provisioner.web
from provisioner.cli.app import whole

WEB = Path(provisioner.web.__file__).parent
SOURCES = [
    *sorted((WEB / "templates").glob("*.html")),
    *sorted((WEB / "pages").glob("*.py")),
    *(
        WEB.parent / name
        for name in ("domain/outlook.py", "doctor/network.py", "doctor/stock.py", "actions/diagnose.py")
    ),
]


def advised() -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for source in SOURCES:
        for words in re.findall(r"\bprovisioner ((?:[a-z]+ ){0,1}[a-z]+)\b(?= |<|\"|`|\n|$)", source.read_text()):
            found.add(tuple(words.split()))
    return found


@pytest.mark.parametrize("words", sorted(advised()), ids=" ".join)
def test_the_command_exists(words: tuple[str, ...]) -> None:
    command = whole()
    for word in words:
        choices = getattr(command, "commands", None)
        if choices is None:
            # A command without subcommands: what follows is its argument.
            return
        assert word in choices, f"provisioner {' '.join(words)}"
        command = choices[word]


def test_there_is_advice_to_look_at() -> None:
    assert {("machine", "install"), ("subnet", "add"), ("simulate",)} <= {words[:2] for words in advised()}
