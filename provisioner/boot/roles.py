"""Roles: a folder each below ``cloud_configs/``, with ``role.yaml`` and templates over the shared defaults."""

import hashlib
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from provisioner.boot.document import Document, InvalidDocument, Problem, check, read
from provisioner.boot.role_file import RoleFile, typed
from provisioner.domain.errors import NotFound, Refused

SHARED = "_shared"
ROLE_FILE = "role.yaml"
ARGUMENTS = "role.yaml, kernel_arguments"
"""The kernel arguments as a template, a line each: its name in errors."""
ROLE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Role:
    """A role folder as it was read. ``files`` are its own and the shared templates, by relative name."""

    name: str
    settings: RoleFile
    revision: str
    """sha256 over all files, shared defaults included."""
    files: Mapping[str, bytes] = field(repr=False)
    document: Document = field(repr=False)

    @cached_property
    def templates(self) -> dict[str, str]:
        """Template texts by name: the role's own, else the shared default of the same name."""
        own = {
            name: _text(data, f"{self.name}/{name}") for name, data in self.files.items() if name.endswith(".j2")
        }
        prefix = f"{SHARED}/"
        shared = {name.removeprefix(prefix): text for name, text in own.items() if name.startswith(prefix)}
        return shared | own | {ARGUMENTS: "\n".join(self.settings.kernel_arguments)}


@dataclass(frozen=True, slots=True)
class RoleFolder:
    """``cloud_configs/``: looked at anew at each call, so that an edited role needs no restart."""

    root: Path
    _read: dict[str, tuple[Hashable, Role]] = field(default_factory=dict, repr=False, compare=False)
    """Roles as they were read, with what told their files apart then."""

    def names(self) -> list[str]:
        """The folders that hold a ``role.yaml``, sorted. Raises Refused when the folder does not exist."""
        if not self.root.is_dir():
            raise Refused(f"the role folder {self.root} does not exist", "set `cloud_configs` in the settings file")
        found = (path.parent.name for path in self.root.glob(f"*/{ROLE_FILE}"))
        return sorted(name for name in found if ROLE_NAME.match(name))

    def get(self, name: str) -> Role:
        """Read a role. Raises NotFound, InvalidDocument with every fault in ``role.yaml``, Refused."""
        if not (ROLE_NAME.match(name) and (self.root / name / ROLE_FILE).is_file()):
            if ROLE_NAME.match(name) and (self.root / name).is_dir():
                raise Refused(
                    f"role {name!r} has no {ROLE_FILE} in {self.root / name}",
                    "copy another role's and edit it; description, image and format must be there",
                )
            raise NotFound("role", name, f"there is: {', '.join(self.names()) or 'none'}")
        looks = (_looks(self.root / name), _looks(self.root / SHARED))
        if (kept := self._read.get(name)) and kept[0] == looks:
            return kept[1]
        role = self._parsed(name)
        self._read[name] = (looks, role)
        return role

    def _parsed(self, name: str) -> Role:
        return role_of(name, dict(_files(self.root / name, "")) | dict(_files(self.root / SHARED, f"{SHARED}/")))


def role_of(name: str, files: Mapping[str, bytes]) -> Role:
    """A role from its files. Raises InvalidDocument with every fault in ``role.yaml``."""
    place = f"{name}/{ROLE_FILE}"
    document = read(_text(files[ROLE_FILE], place), place)
    settings, problems = check(RoleFile, document)
    if settings is None:
        raise InvalidDocument(problems, f"correct it and check with `provisioner role validate {name}`")
    return Role(name, settings, _revision(files), files, document)


def parameters(role: Role, given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults overlaid by what the slot sets, each of its declared type.

    Raises InvalidDocument for an unknown or missing parameter, or one that does not fit its type. A parameter
    without a default that nobody sets is left out, so that a template that uses it says so.
    """
    declared, problems, values = role.settings.parameters, [], {}
    known = ", ".join(declared) or "none"
    for name in given.keys() - declared.keys():
        problems.append(_parameter_problem(role, name, f"is no parameter of role {role.name}; there is: {known}"))
    for name, parameter in declared.items():
        value = given.get(name, parameter.default)
        if value is None:
            if parameter.required:
                problems.append(_parameter_problem(role, name, "is required and not set"))
            continue
        try:
            values[name] = typed(parameter, value)
        except ValueError as error:
            problems.append(_parameter_problem(role, name, f"{value!r} {error}"))
    if problems:
        remedy = 'set them with `provisioner machine set MACHINE --params \'{"NAME": "VALUE"}\'`'
        raise InvalidDocument(sorted(problems, key=lambda p: p.key), remedy)
    return values


def _parameter_problem(role: Role, name: str, message: str) -> Problem:
    return Problem(role.document.file, role.document.line_of(("parameters", name)), f"parameters.{name}", message)


def _looks(folder: Path) -> Hashable:
    """Changes when a file of the folder does: names, inodes, sizes and times."""
    return tuple(sorted(_entries(str(folder))))


def _entries(folder: str) -> Iterator[tuple[str, int, int, int, int]]:
    # Not by Path: this is asked before every compile, and Path takes ten times as long.
    try:
        found = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with found:
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            yield entry.path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Regular files of a folder; what editors leave behind is not part of a role."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or name.endswith(("~", ".swp")):
            continue
        if path.is_symlink():
            raise Refused(f"{prefix}{name} in {folder} is a symbolic link", "put the file itself there")
        if path.is_file():
            if path.stat().st_size > _MAX_FILE_BYTES:
                raise Refused(f"{path} is larger than {_MAX_FILE_BYTES} bytes", "large files belong to `payload`")
            yield prefix + name, path.read_bytes()


def _revision(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{len(name)} {name} {len(files[name])} ".encode() + files[name])
    return digest.hexdigest()


def _text(data: bytes, place: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidDocument([Problem(place, line, "", "is not UTF-8 text")]) from None
