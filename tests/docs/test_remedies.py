"""Every command that a message or a document names exists, with the options it is given there.

A remedy that does not work as typed is worse than none. Found in the sources: what stands between backquotes and
begins with the program's name; what is put in at run time is taken for a word.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.cli.app import config_first, whole

TREE = Path(__file__).parents[2]
_COMMAND = re.compile(r"`(?:sudo )?provisioner ([^`]+)`")
COMMANDS = whole()
_PUT_IN = "\N{MIDDLE DOT}"
"""Stands for what a message puts in."""


def texts(file: Path) -> Iterator[str]:
    """What a file says: a program's strings, a document as it is."""
    if file.suffix != ".py":
        yield file.read_text()
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else _PUT_IN for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def fault(line: str) -> str:
    """Why this command line could not be typed; '' if it could."""
    command, path = COMMANDS, "provisioner"
    words = config_first(re.split(r" [|<>] ", f" {line} ")[0].split())
    while words and (children := getattr(command, "commands", None)):
        word = words.pop(0)
        if _PUT_IN in word or word in ("…", "COMMAND") or word.startswith("-"):
            return ""
        if word not in children:
            return f"{path} has no {word}"
        command, path = children[word], f"{path} {word}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    return "".join(f"{path} has no {option}" for option in sorted(options - known - {"--help", "--config"}))


def named() -> set[tuple[str, str]]:
    """File and command line."""
    files = [*TREE.glob("provisioner/**/*.py"), *TREE.glob("docs/*.md"), *TREE.glob("*.md")]
    files += [*TREE.glob("provisioner/**/*.html"), *TREE.glob("cloud_configs/**/*.j2")]
    return {
        (str(file.relative_to(TREE)), " ".join(found.split()))
        for file in files
        for text in texts(file)
        for found in _COMMAND.findall(text)
        if "|" not in found.partition(" | ")[0] and "[" not in found
    }


def test_every_command_that_is_named_exists() -> None:
    found = named()
    assert len(found) > 200, "they are not found any more"
    wrong = [f"{file}: `provisioner {line}`: {why}" for file, line in sorted(found) if (why := fault(line))]
    assert wrong == []


@pytest.mark.parametrize(
    "line", ["machine explode node-01", "machine set node-01 --param a=b", "machines list", "db restore --force"]
)
def test_one_that_does_not_exist_is_found(line: str) -> None:
    assert fault(line)
