"""YAML documents that people write or templates produce, read so that every fault has its file, line and key."""

import difflib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from provisioner.domain.errors import Refused

_M = TypeVar("_M", bound=BaseModel)
Path = tuple[str | int, ...]
_MAX_NODES = 50_000
"""Aliases can make a short document unfold without end."""
_readers = threading.local()


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a file. ``key`` is a path like ``coreos.units[0].command``; empty for the whole file."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class InvalidDocument(Refused):
    """A file with faults; ``problems`` has all of them, the text shows them a line each."""

    def __init__(self, problems: Sequence[Problem], remedy: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)), remedy)


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping as plain data, and where its keys stand."""

    file: str
    data: dict[str, Any]
    _tree: Callable[[], CommentedMap]
    """The same with the places of its keys, which takes longer to read."""

    def line_of(self, path: Path) -> int | None:
        """The line (from 1) of the deepest part of ``path`` that the file has."""
        node: Any = self._tree()
        line: int | None = None
        for part in path:
            if isinstance(node, CommentedMap):
                key = next((k for k in node if _same_key(k, part)), None)
                if key is None:
                    return line
                line = node.lc.key(key)[0] + 1 if key in (node.lc.data or {}) else line
                node = node[key]
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0] + 1
                node = node[part]
            else:
                return line
        return line

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(self.file, self.line_of(path), spelled(path), message)


def read(text: str, file: str, key: Callable[[str], str] = str, version: tuple[int, int] | None = None) -> Document:
    """Read one YAML mapping, of YAML 1.2 or ``version``. ``key`` respells mapping keys. Raises InvalidDocument."""

    @cache
    def tree() -> CommentedMap:
        return _placed(text, file, version)

    data = _quickly(text, key, version)
    if data is None:
        try:
            data = _plain(tree(), key, [_MAX_NODES])
        except _Fault as fault:
            raise InvalidDocument([Problem(file, fault.line, fault.key, fault.message)]) from None
    return Document(file, data, tree)


def _quickly(text: str, key: Callable[[str], str], version: tuple[int, int] | None) -> dict[str, Any] | None:
    """By libyaml, six times as fast, for documents without a fault. None: read it again for what is wrong where."""
    try:
        loaded = _reader(version).load(text)
        return _plain(loaded, key, [_MAX_NODES]) if isinstance(loaded, dict) else None
    except (YAMLError, ValueError, _Fault):
        return None


def _reader(version: tuple[int, int] | None) -> YAML:
    """One a thread and version: making one looks for plug-ins in the file system."""
    made: dict[tuple[int, int] | None, YAML] = _readers.__dict__.setdefault("made", {})
    if version not in made:
        made[version] = YAML(typ="safe")
        if version is not None:
            made[version].version = version
    return made[version]


def _placed(text: str, file: str, version: tuple[int, int] | None) -> CommentedMap:
    """Raises InvalidDocument."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = False
    if version is not None:
        yaml.version = version
    try:
        tree = yaml.load(StringIO(text))
    except MarkedYAMLError as error:
        raise InvalidDocument([_marked(error, text, file)]) from None
    except (YAMLError, ValueError) as error:
        raise InvalidDocument([Problem(file, None, "", f"not YAML: {_first_line(error)}")]) from None
    if not isinstance(tree, CommentedMap):
        raise InvalidDocument([Problem(file, 1, "", "holds no mapping; write `key: value` lines")])
    return tree


def check(model: type[_M], document: Document) -> tuple[_M | None, list[Problem]]:
    """The document as ``model``, or every way in which it is none."""
    try:
        return model.model_validate(document.data), []
    except ValidationError as error:
        return None, [_explained(detail, document, model) for detail in error.errors(include_url=False)]


def spelled(path: Path) -> str:
    """``coreos.units[0].command``"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


class _Fault(Exception):
    def __init__(self, line: int | None, key: str, message: str) -> None:
        self.line, self.key, self.message = line, key, message


def _plain(node: Any, key: Callable[[str], str], budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise _Fault(None, "", f"unfolds to more than {_MAX_NODES} values; use fewer aliases")
    if isinstance(node, Mapping):
        plain: dict[str, Any] = {}
        for name, value in node.items():
            spelling = key(str(name))
            if spelling in plain:
                line = node.lc.key(name)[0] + 1 if isinstance(node, CommentedMap) else None
                raise _Fault(line, str(name), "is written twice (- and _ are the same here); keep one")
            plain[spelling] = _plain(value, key, budget)
        return plain
    if isinstance(node, list | tuple):
        return [_plain(item, key, budget) for item in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _same_key(key: object, part: object) -> bool:
    return key == part or (isinstance(part, str) and _folded(str(key)) == _folded(part))


def _folded(key: str) -> str:
    """``drop-ins``, ``drop_ins`` and ``dropIns`` name the same thing to one reader or another."""
    return key.replace("-", "").replace("_", "").lower()


def _marked(error: MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else None
    what = _first_line(error.problem or error.context or "cannot be read")
    lines = text.splitlines()
    if (
        line
        and line <= len(lines)
        and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
    ):
        what = "indented with a tab; YAML wants spaces"
    elif what.startswith("found duplicate key"):
        key = what.removeprefix("found duplicate key ").split(" with value")[0].strip('"')
        return Problem(file, line, key, "is written twice; keep one")
    elif "another document" in what or "single document" in (error.context or ""):
        what = "a second document begins here (`---`); a file holds one"
    else:
        what = f"not YAML: {what}"
    return Problem(file, line, "", what)


def _first_line(error: object) -> str:
    return str(error).strip().split("\n", 1)[0]


_WORDS = {
    "string_type": "must be text; put quotes around it",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list (lines that begin with `- `)",
    "tuple_type": "must be a list (lines that begin with `- `)",
    "dict_type": "must be a mapping (`key: value` lines)",
    "model_type": "must be a mapping (`key: value` lines)",
    "model_attributes_type": "must be a mapping (`key: value` lines)",
}


def _explained(detail: Any, document: Document, model: type[BaseModel]) -> Problem:
    path: Path = tuple(detail["loc"])
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return unknown_key(document, path, _keys_beside(model, path))
    if kind == "missing":
        message = "is missing"
    else:
        message = _WORDS.get(kind) or detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if isinstance(value, str | int | float):
            message = f"{_shown(value)} {message}"
    return document.problem(path, message)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def unknown_key(document: Document, path: Path, known: Sequence[str]) -> Problem:
    """A key that is none of ``known``, with what was probably meant."""
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return document.problem(path, f"unknown key; {meant}")


def _keys_beside(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the model knows where ``path`` ends."""
    here: Any = model
    for part in path[:-1]:
        here = inner(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            names = {field.alias or name: field for name, field in here.model_fields.items()}
            here = names[str(part)].annotation if str(part) in names else None
        else:  # list[X], tuple[X, ...] or dict[str, X]
            here = inner(here, of_list=True)
    here = inner(here)
    if not (isinstance(here, type) and issubclass(here, BaseModel)):
        return []
    return [field.alias or name for name, field in here.model_fields.items()]


def inner(annotation: Any, *, of_list: bool = False) -> Any:
    """``X`` of ``X | None``; with ``of_list`` the X of ``list[X] | None`` or ``dict[str, X]``."""
    members = getattr(annotation, "__args__", ())
    if type(None) in members:
        annotation = next(member for member in members if member is not type(None))
    if not of_list:
        return annotation
    elements = [element for element in getattr(annotation, "__args__", ()) if element not in (str, ...)]
    return elements[0] if elements else None
