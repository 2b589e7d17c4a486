"""The one reader of configuration: a TOML file, overridden by ``PROVISIONER_*`` (``__`` for nesting)."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

import provisioner
from provisioner.domain.errors import Refused
from provisioner.misfits import misfit

DEFAULT_FILE = Path("/etc/provisioner/provisioner.toml")
_PACKAGE = Path(provisioner.__file__).parent


def _beside(name: str) -> Path:
    """A folder of the source tree; a wheel carries it in the package."""
    return tree if (tree := _PACKAGE.parent / name).is_dir() else _PACKAGE / f"_{name}"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _bare(address: object) -> object:
    """``10.12.1.2/24``, as ``ip addr`` shows it, without its length; '' is none."""
    return address.partition("/")[0] or None if isinstance(address, str) else address


class InterfaceSettings(_Section):
    """One wire. ``address`` is ours on it (IPv4, with or without a prefix length)."""

    name: str
    address: IPv4Address | None = None
    dhcp: Literal["authoritative", "proxy", "off"] = "authoritative"

    @field_validator("address", mode="before")
    @classmethod
    def _without_prefix(cls, value: object) -> object:
        return _bare(value)


class Listen(_Section):
    """``HOST:PORT``, ``PORT`` with the default host, or ``fd:N`` for an inherited listening socket."""

    listen: str = ""

    @field_validator("listen")
    @classmethod
    def _names_a_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (port.isdigit() and int(port) <= 65535):
            raise ValueError("names no port; write it like 0.0.0.0:8080")
        if host not in ("", "fd"):
            try:
                ip_address(host.strip("[]"))
            except ValueError:
                raise ValueError("names no address; write it like 0.0.0.0:8080") from None
        return value


class TftpSettings(_Section):
    """TFTP: the port, and optionally a fixed range of transfer ports for firewalls."""

    port: int = Field(default=69, ge=0, le=65535)
    first_port: int = Field(default=0, ge=0, le=65535)
    last_port: int = Field(default=0, ge=0, le=65535)
    single_port: bool = False
    """Transfers by the request port itself, for firewalls that don't follow TFTP; some old clients refuse it."""
    max_sessions: int = Field(default=4096, ge=1)

    @model_validator(mode="after")
    def _one_way_through_firewalls(self) -> "TftpSettings":
        if self.first_port and self.single_port:
            raise ValueError("give either single_port or first_port and last_port, not both")
        return self


class SourceSettings(_Section):
    """A publisher: its address, its public keys (a GnuPG export), and the fingerprints that alone are believed."""

    url: str
    keyring: Path | None = None
    fingerprints: tuple[str, ...] = ()


class Sources(_Section):
    """Where releases are fetched from; a mirror that keeps the publishers' layout will do."""

    flatcar: SourceSettings = SourceSettings(url="https://{stream}.release.flatcar-linux.net")
    fedora_coreos: SourceSettings = SourceSettings(url="https://builds.coreos.fedoraproject.org")

    @field_validator("flatcar", "fedora_coreos", mode="before")
    @classmethod
    def _over_the_default(cls, value: object, info: ValidationInfo) -> object:
        default = cls.model_fields[info.field_name or ""].default
        return {"url": default.url, **value} if isinstance(value, dict) else value


class ImagesSettings(Listen):
    """The bulk files' listener, and where images come from."""

    sources: Sources = Sources()
    max_transfers: int = Field(default=256, ge=1)
    """Transfers of a MiB or more at once; more wait, the next is of the machine that has the fewest."""
    max_kilobytes_per_second: int = Field(default=0, ge=0)
    """What one connection gets at most, times ``max_transfers`` what all get; 0: no cap."""
    trusted: tuple[str, ...] = ()
    """Fingerprints of the appliances whose bundles are imported without asking; our own always is."""


class DhcpSettings(_Section):
    """How much unlisted clients may ask of an interface, a second in the long run; ten times that at once."""

    newcomers_per_second: float = Field(default=50, gt=0)
    """Clients without a lease that may start."""
    unlisted_per_second: float = Field(default=1000, gt=0)
    """Packets that are looked at; the others are counted only."""
    probe_seconds: float = Field(default=300, ge=0)
    """How often other DHCP servers are looked for on authoritative interfaces; 0: never."""


class LogSettings(_Section):
    """``console`` for people, ``json`` for machines."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All settings; unknown keys are errors."""

    model_config = SettingsConfigDict(
        env_prefix="PROVISIONER_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Path("/var/lib/provisioner")
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in ``data_dir``."""
    interface: str = ""
    address: IPv4Address | None = None
    interfaces: tuple[InterfaceSettings, ...] = ()
    people: Listen = Listen(listen="0.0.0.0:8080")
    machines: Listen = Listen()
    images: ImagesSettings = ImagesSettings()
    tftp: TftpSettings = TftpSettings()
    dhcp: DhcpSettings = DhcpSettings()
    log: LogSettings = LogSettings()
    cloud_configs: Path = _beside("cloud_configs")
    netboot_assets: Path = _beside("netboot_assets")
    arm_hours: float = Field(default=24, gt=0, le=8760)
    """How long an armed machine may wait for its netboot."""
    observed_days: float = Field(default=90, ge=0)
    """How long packets, reads, progress and refusals stay in the timeline, and ended jobs, expired sessions
    and what was compiled for replaced installs in the database; 0: for ever. Changes always stay."""
    backups_kept: int = Field(default=30, ge=0)
    """How many backups that ``db backup`` named itself stay in ``data_dir/backups``; 0: all."""

    @field_validator("data_dir", mode="before")
    @classmethod
    def _names_a_folder(cls, value: object) -> object:
        if value == "":
            raise ValueError("names no folder; write it like /var/lib/provisioner")
        return value

    @field_validator("address", mode="before")
    @classmethod
    def _without_prefix(cls, value: object) -> object:
        return _bare(value)

    @model_validator(mode="after")
    def _one_way_to_name_wires(self) -> "Settings":
        if self.interface and self.interfaces:
            raise ValueError("give either interface (and address) or [[interfaces]], not both")
        return self

    @property
    def wires(self) -> tuple[InterfaceSettings, ...]:
        """The served interfaces; ``interface`` + ``address`` are short for one entry."""
        if self.interface:
            return (InterfaceSettings(name=self.interface, address=self.address),)
        return self.interfaces

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'provisioner.db'}"

    @property
    def loaders(self) -> Path:
        return self.netboot_assets / "build" / "loaders"

    @property
    def keys(self) -> Path:
        return self.data_dir / "keys"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load(file: Path | None = None, **overrides: Any) -> Settings:
    """Read settings. ``file`` None: the default file if it exists. Raises Refused naming key and remedy."""
    path = file or DEFAULT_FILE
    values = _read(path) if file is not None or path.exists() else {}
    values |= {key: value for key, value in overrides.items() if value is not None}
    _refuse_misspelt_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _refusal(error.errors()[0], path) from error
    except SettingsError as error:
        # Its text names the field in quotes, and nothing that could be shown instead.
        field = re.search(r'"(\w+)"', str(error))
        variable = f"PROVISIONER_{field[1].upper() if field else ''}"
        raise Refused(
            f"{variable} {os.environ.get(variable, '')!r} is not JSON", "write such settings in the settings file"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"settings file {path} cannot be read ({error.strerror})", "check --config") from error
    except UnicodeDecodeError as error:
        raise Refused(f"settings file {path} is not UTF-8 text", "save it in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise Refused(
            f"settings file {path} is not valid TOML: {error}",
            'mend that line; text stands in quotes, like interface = "eth1"',
        ) from error


def _refuse_misspelt_variables() -> None:
    """A variable of another program may begin like ours; one that nearly is ours would be lost silently."""
    for variable in os.environ:
        if variable.startswith("PROVISIONER_"):
            name = variable.removeprefix("PROVISIONER_").partition("__")[0].lower()
            if name not in Settings.model_fields and (
                near := get_close_matches(name, Settings.model_fields, 1, 0.8)
            ):
                raise Refused(
                    f"environment variable {variable} is not known", f"did you mean PROVISIONER_{near[0].upper()}?"
                )


def _refusal(detail: Mapping[str, Any], path: Path) -> Refused:
    """One fault in the words of the settings file."""
    where = detail["loc"]
    key = ".".join(str(part) for part in where)
    kind, value = detail["type"], detail.get("input")
    if not key:
        what = str(detail["msg"]).removeprefix("Value error, ")
        return Refused(f"the settings contradict each other: {what}", f"mend {path}")
    if kind == "extra_forbidden":
        known = sorted(_keys_of(where[:-1]))
        near = get_close_matches(str(where[-1]), known, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        return Refused(f"setting {key!r} in {path} is not known", f"{meant}known settings: {', '.join(known)}")
    if kind == "missing":
        return Refused(f"setting {key} is missing", f"give it in {path}")
    if kind == "tuple_type" and key == "interfaces":
        return Refused("setting interfaces is one table, not a list", f"write [[interfaces]] in {path}")
    if kind in ("model_type", "dict_type"):
        example = "listen" if "listen" in _keys_of(where) else next(iter(_keys_of(where)))
        return Refused(
            f"setting {key} {value!r} is a section", f"write [{key}] in {path}, with {example} = … below it"
        )
    variable = f"PROVISIONER_{key.upper().replace('.', '__')}"
    place = variable if variable in os.environ else str(path)
    return Refused(f"setting {key} {value!r} {misfit(detail)}", f"mend it in {place}")


def _keys_of(where: Sequence[str | int]) -> Sequence[str]:
    """The keys of a section, by its path; the top's for ()."""
    here: Any = Settings
    for part in where:
        here = here.model_fields[part].annotation if isinstance(part, str) else here.__args__[0]
    return tuple(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else (str(where[-1]),)
