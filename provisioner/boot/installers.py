"""Answers for other publishers' installers, judged by their rules: preseed, autoinstall, Talos."""

import re
from collections.abc import Iterator

from pydantic import BaseModel

from provisioner.boot.autoinstall_schema import MetaData, UserData
from provisioner.boot.document import InvalidDocument, Problem, check, read
from provisioner.boot.talos_schema import Talos

_DEBCONF_TYPES = frozenset(
    ("string", "boolean", "select", "multiselect", "password", "note", "text", "title", "error", "entropy", "seen")
)
_OWNER = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_QUESTION = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)+")


def preseed(text: str, file: str) -> list[Problem]:
    """Lines ``owner question type value``, as debconf-set-selections(1) and the installer's manual have it."""
    return list(_preseed(text, file))


def _preseed(text: str, file: str) -> Iterator[Problem]:
    asked: dict[tuple[str, str], int] = {}
    for number, line in _continued(text):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if bare.endswith("\\"):
            yield Problem(file, number, "", "ends in \\ with no line to go on with")
            continue
        owner, question, kind, *value = [*bare.split(maxsplit=3), "", "", ""][:4]
        answer = value[0] if value else ""
        if not _OWNER.fullmatch(owner) or not _QUESTION.fullmatch(question):
            yield Problem(
                file, number, "", f"{bare[:60]!r} is not `owner question type value`, like `d-i a/b string c`"
            )
        elif kind not in _DEBCONF_TYPES:
            known = ", ".join(sorted(_DEBCONF_TYPES))
            yield Problem(file, number, question, f"{kind!r} is no type of debconf; there is: {known}")
        elif kind in ("boolean", "seen") and answer not in ("true", "false"):
            yield Problem(file, number, question, f"{answer!r} must be true or false")
        elif kind != "seen" and (first := asked.setdefault((owner, question), number)) != number:
            yield Problem(file, number, question, f"was answered in line {first} already; keep one")


def _continued(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first; a backslash at the end goes on."""
    held, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        start = start if held else number
        if line.endswith("\\") and not (held or line).lstrip().startswith("#"):
            held += line[:-1] + " "
            continue
        yield start, held + line
        held = ""
    if held:
        yield start, held + "\\"


def user_data(text: str, file: str) -> list[Problem]:
    """Autoinstall as cloud-init's ``user-data``."""
    if text.split("\n", 1)[0].rstrip() != "#cloud-config":
        return [
            Problem(file, 1, "", "the first line must be `#cloud-config`; without it cloud-init ignores the file")
        ]
    return _document(text, file, UserData)


def meta_data(text: str, file: str) -> list[Problem]:
    """NoCloud's ``meta-data``; without instance-id cloud-init does not take the data source."""
    return _document(text, file, MetaData)


def talos(text: str, file: str) -> list[Problem]:
    """A Talos machine configuration."""
    return _document(text, file, Talos)


def _document(text: str, file: str, model: type[BaseModel]) -> list[Problem]:
    try:
        document = read(text, file)
    except InvalidDocument as error:
        return list(error.problems)
    return sorted(check(model, document)[1], key=lambda problem: problem.line or 0)
