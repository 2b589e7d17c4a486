"""``role.yaml``: what a role may say, and what its parameters may hold."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from provisioner.boot.quoting import ipxe_argument
from provisioner.domain.errors import InvalidValue
from provisioner.domain.option_set import read_options

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
    trust: Literal["none", "member", "member-if-listed", "keys"] = "none"
    """What the machine gets of its cluster: nothing, certificates and a token to join with, or the keys as well.
    member-if-listed: nothing, where the cluster is but a name."""
    proof: Literal["ran", "validated", "rendered"] = "rendered"

    @property
    def in_memory(self) -> bool:
        """Is it booted, and nothing installed?"""
        return self.format == "none"

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
