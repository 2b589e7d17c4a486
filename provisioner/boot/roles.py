"""Roles: a folder each below ``cloud_configs/``, with ``role.yaml`` and templates over the shared defaults."""

import hashlib
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from provisioner.boot.document import Document, InvalidDocument, Problem, check, read
from provisioner.boot.quoting import ipxe_argument
from provisioner.domain.errors import InvalidValue, NotFound, Refused
from provisioner.domain.option_set import read_options

SHARED = "_shared"
ROLE_FILE = "role.yaml"
ARGUMENTS = "role.yaml, kernel_arguments"
"""The kernel arguments as a template, a line each: its name in errors."""
ROLE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_MAX_FILE_BYTES = 1024 * 1024
_SIZE = re.compile(r"([0-9]{1,6})\s?(MiB|GiB|TiB)\Z")
_UNITS = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Parameter(_Strict):
    """What a slot may set for a role. ``map`` and ``list`` hold text."""

    type: Literal["string", "integer", "boolean", "list", "map"] = "string"
    default: Any = None
    description: str = ""
    required: bool = False
    example: Any = None
    """For trying the role where its default, or any text, would not do."""

    @model_validator(mode="after")
    def _default_fits(self) -> "Parameter":
        if self.required and self.default is not None:
            raise ValueError("is required and has a default; keep one of the two")
        if self.default is not None:
            try:
                typed(self, self.default)
            except ValueError as error:
                raise ValueError(f"has the default {self.default!r}, which {error}") from None
        return self


class PayloadFile(_Strict):
    """A file below the payload root of the image server, copied into the installed system."""

    path: str
    """Below ``<data_dir>/payload/``."""
    sha256: str = ""
    """Empty: what the file had when it was added, frozen at arming."""
    dest: str
    """Absolute, on the installed system's ROOT file system."""
    mode: str = "0644"
    optional: bool = False
    """Left out, with a warning, while nobody has added it."""

    @field_validator("path")
    @classmethod
    def _below_the_payload(cls, path: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+~-]*(/[A-Za-z0-9_][A-Za-z0-9._+~-]*)*", path):
            raise ValueError("is no path below the payload folder; use letters, digits and . _ + ~ - between /")
        return path

    @field_validator("sha256")
    @classmethod
    def _is_sha256(cls, digest: str) -> str:
        if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("is no sha256; write the 64 hexadecimal digits that `sha256sum FILE` prints")
        return digest

    @field_validator("dest")
    @classmethod
    def _is_destination(cls, dest: str) -> str:
        if not re.fullmatch(r"(/[A-Za-z0-9_.+~@-]+)+", dest) or {".", ".."} & set(dest.split("/")):
            raise ValueError("is no absolute path of letters, digits and . _ + ~ @ -")
        if dest.startswith("/usr/"):
            raise ValueError("lies below /usr, which is read-only on the installed system; use /opt or /var")
        return dest

    @field_validator("mode")
    @classmethod
    def _is_mode(cls, mode: str) -> str:
        if not re.fullmatch(r"0?[0-7]{3,4}", mode):
            raise ValueError("is no file mode; write it as text, like '0644'")
        return mode


class InstallDisk(_Strict):
    """Which disk is written. ``min_size`` keeps USB sticks and boot modules out."""

    rule: str = "smallest"
    min_size: str = "1GiB"

    @field_validator("rule")
    @classmethod
    def _is_rule(cls, rule: str) -> str:
        if rule in ("smallest", "largest", "first"):
            return rule
        if re.fullmatch(r"by-id:[A-Za-z0-9_.:*?+-]+", rule) or re.fullmatch(r"/dev/[A-Za-z0-9_.:/+-]+", rule):
            return rule
        raise ValueError("is no disk rule; write smallest, largest, first, by-id:GLOB or /dev/NAME")

    @field_validator("min_size")
    @classmethod
    def _is_size(cls, size: str) -> str:
        if not _SIZE.match(size):
            raise ValueError("is no size; write a number with MiB, GiB or TiB, like 8GiB")
        return size

    @property
    def min_bytes(self) -> int:
        number, unit = _SIZE.findall(self.min_size)[0]
        return int(number) * _UNITS[unit]


class BootFiles(_Strict):
    """Which files of the image are booted, where the publisher's names don't say it. Each may be a glob
    (``*.iso``) that fits exactly one file."""

    kernel: str
    initrd: tuple[str, ...] = Field(default=(), strict=False)
    media: str = ""
    """A further file, for templates: ``role.image.media``."""

    @field_validator("kernel", "media", "initrd")
    @classmethod
    def _are_names(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if name and not re.fullmatch(r"[A-Za-z0-9*?][A-Za-z0-9._+*?-]{0,127}", name):
                raise ValueError(f"has {name!r}, no file name; use letters, digits and . _ + - and the globs * ?")
        return value


_TAKEN = frozenset(("boot.ipxe", "progress", "log", "complete", "failed", "peers"))
"""What stands below a machine's URL anyway."""


class RoleFile(_Strict):
    """``role.yaml``."""

    description: str
    image: str
    image_version: str = ""
    """Empty: the newest there is when a machine is armed."""
    format: Literal["cloud-config", "ignition", "butane", "preseed", "autoinstall", "talos", "none"]
    boot: BootFiles | None = None
    files: tuple[str, ...] = Field(default=(), strict=False)
    """Further rendered files, each from ``NAME.j2``, served beside the format's own."""
    kernel_arguments: tuple[str, ...] = Field(default=(), strict=False)
    """Each one word, or a template of one: ``hostname={{ machine.name }}``."""
    install_disk: InstallDisk = InstallDisk()
    wipe: Literal["never", "foreign", "always"] = "never"
    """never: a disk with data that is not ours stops the install. foreign: such data is lost. always: our
    own earlier installation is wiped too."""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    arm: Literal["manual", "on-discovery"] = "manual"
    on_failure: Literal["disk", "rescue", "power-off"] = "disk"
    max_attempts: int = Field(default=3, ge=1, le=20)
    payload: tuple[PayloadFile, ...] = Field(default=(), strict=False)
    autologin: bool = False
    needs: tuple[str, ...] = Field(default=(), strict=False)
    """Roles of which the machine's cluster should have a member; a cluster without one is warned about."""
    dhcp: dict[str, str | int] = Field(default_factory=dict)
    """DHCP options by name; they win over the subnet's, and a machine's win over them."""
    trust: Literal["none", "member", "keys"] = "none"
    """What the machine gets of its cluster: nothing, certificates and a token to join with, or the keys as well."""
    proof: Literal["ran", "validated", "rendered"] = "rendered"

    @field_validator("image", "image_version")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", name):
            raise ValueError("is no image name or version; use letters, digits and . _ + -")
        return name

    @field_validator("files")
    @classmethod
    def _are_file_names(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for name in files:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
                raise ValueError(f"has {name!r}, no file name; use letters, digits and . _ -")
            if name in _TAKEN or files.count(name) > 1:
                raise ValueError(f"has {name!r}, which is there already; choose another name")
        return files

    @field_validator("kernel_arguments")
    @classmethod
    def _are_arguments(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            if is_template(argument) and argument.isprintable():
                continue
            try:
                ipxe_argument(argument)
            except ValueError as error:
                raise ValueError(f"has the argument {argument!r}: {error}") from None
        return arguments

    @field_validator("dhcp")
    @classmethod
    def _are_options(cls, dhcp: dict[str, str | int]) -> dict[str, str | int]:
        try:
            read_options(dhcp)
        except InvalidValue as error:
            raise ValueError(f"has an option that cannot be sent: {error}") from None
        return dhcp

    @field_validator("parameters")
    @classmethod
    def _are_names(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for name in parameters:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or name in ("items", "keys", "values", "get"):
                raise ValueError(f"has the parameter {name!r}; choose another name of a-z, 0-9 and _")
        return parameters


def is_template(argument: str) -> bool:
    """Is it rendered for each machine?"""
    return "{{" in argument or "{%" in argument


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
        if name not in (known := self.names()):
            raise NotFound("role", name, f"there is: {', '.join(known) or 'none'}")
        looks = (_looks(self.root / name), _looks(self.root / SHARED))
        if (kept := self._read.get(name)) and kept[0] == looks:
            return kept[1]
        role = self._parsed(name)
        self._read[name] = (looks, role)
        return role

    def _parsed(self, name: str) -> Role:
        files = dict(_files(self.root / name, "")) | dict(_files(self.root / SHARED, f"{SHARED}/"))
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
        remedy = "set it with `provisioner machine set MACHINE --param NAME=VALUE`"
        raise InvalidDocument(sorted(problems, key=lambda p: p.key), remedy)
    return values


def typed(parameter: Parameter, value: Any) -> Any:  # noqa: PLR0911 - a table
    """The value in the parameter's type; text from a command line or a CSV cell is read as that type.

    Lists are also read from ``a,b`` and maps from ``k=v,k2=v2``. Raises ValueError with what was expected.
    """
    match parameter.type, value:
        case "string", str():
            return value
        case "string", bool() | int() | float():
            return "true" if value is True else "false" if value is False else str(value)
        case "integer", int() if not isinstance(value, bool):
            return value
        case "integer", str() if re.fullmatch(r"-?[0-9]{1,18}", value):
            return int(value)
        case "boolean", bool():
            return value
        case "boolean", "true" | "false":
            return value == "true"
        case "list", list() | tuple() if all(isinstance(item, str) for item in value):
            return list(value)
        case "list", str():
            return [item.strip() for item in value.split(",") if item.strip()]
        case "map", Mapping() if all(isinstance(item, str) for item in value.values()):
            return dict(value)
        case "map", str() if all("=" in item for item in value.split(",") if item):
            return {k.strip(): v.strip() for k, v in (item.split("=", 1) for item in value.split(",") if item)}
    wanted = {
        "string": "text",
        "integer": "a whole number",
        "boolean": "true or false",
        "list": "a list of texts (a,b)",
        "map": "a mapping of texts (k=v,k2=v2)",
    }[parameter.type]
    raise ValueError(f"is not {wanted}")


def _parameter_problem(role: Role, name: str, message: str) -> Problem:
    return Problem(role.document.file, role.document.line_of(("parameters", name)), f"parameters.{name}", message)


def _looks(folder: Path) -> Hashable:
    """Changes when a file of the folder does: names, inodes, sizes and times."""
    if not folder.is_dir():
        return ()
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return tuple(sorted((str(p), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in found))


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
