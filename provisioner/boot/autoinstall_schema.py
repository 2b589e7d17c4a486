"""Ubuntu's autoinstall, version 1: the keys of its published schema (subiquity's ``autoinstall-schema.json``)
and of its reference manual. The installer ignores a key that it does not know; here that is a fault.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Commands = list[str | list[str]]
"""A text is given to ``sh -c``, a list is run as it is."""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _crypted(password: str) -> str:
    if not re.fullmatch(r"[!*]|\$[0-9a-z]+\$.+", password):
        raise ValueError("is no password hash; make one with `openssl passwd -6`")
    return password


def _host_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise ValueError("is no host name of lower-case letters, digits and -")
    return name


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=_kebab)


class RefreshInstaller(_Section):
    update: bool | None = None
    channel: str | None = None


class Keyboard(_Section):
    layout: str
    variant: str | None = None
    toggle: str | None = None


class Source(_Section):
    id: str | None = None
    search_drivers: bool | None = Field(default=None, alias="search_drivers")


class Identity(_Section):
    username: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
    hostname: Annotated[str, AfterValidator(_host_name)]
    password: Annotated[str, AfterValidator(_crypted)]
    realname: str | None = None


class Ssh(_Section):
    install_server: bool | None = None
    authorized_keys: list[str] | None = None
    allow_pw: bool | None = None


class Snap(_Section):
    name: str
    channel: str | None = None
    classic: bool | None = None


class Kernel(_Section):
    package: str | None = None
    flavor: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Kernel":
        if (self.package is None) == (self.flavor is None):
            raise ValueError("needs one of package and flavor")
        return self


class Codecs(_Section):
    install: bool | None = None


class Drivers(_Section):
    install: bool | None = None


class Oem(_Section):
    install: bool | Literal["auto"] | None = None


class UbuntuPro(_Section):
    token: str | None = None


class Autoinstall(_Section):
    """What stands below ``autoinstall:``."""

    version: Annotated[int, Field(ge=1, le=1)]
    interactive_sections: list[str] | None = None
    early_commands: Commands | None = None
    locale: str | None = None
    refresh_installer: RefreshInstaller | None = None
    keyboard: Keyboard | None = None
    source: Source | None = None
    network: dict[str, Any] | None = None
    proxy: str | None = None
    apt: dict[str, Any] | None = None
    storage: dict[str, Any] | None = None
    identity: Identity | None = None
    active_directory: dict[str, Any] | None = None
    ubuntu_pro: UbuntuPro | None = None
    ssh: Ssh | None = None
    codecs: Codecs | None = None
    drivers: Drivers | None = None
    oem: Oem | None = None
    snaps: list[Snap] | None = None
    debconf_selections: str | None = None
    packages: list[str] | None = None
    kernel: Kernel | None = None
    kernel_crash_dumps: dict[str, Any] | None = None
    timezone: str | None = None
    updates: Literal["security", "all"] | None = None
    shutdown: Literal["reboot", "poweroff"] | None = None
    late_commands: Commands | None = None
    error_commands: Commands | None = None
    reporting: dict[str, dict[str, Any]] | None = None
    user_data: dict[str, Any] | None = None
    zdevs: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _can_be_logged_into(self) -> "Autoinstall":
        if self.identity is None and self.user_data is None and self.active_directory is None:
            raise ValueError("has neither identity nor user-data; the installer would stop and ask")
        return self


class UserData(BaseModel):
    """The whole file. Other keys of cloud-init than these would configure the live installer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    autoinstall: Autoinstall


class MetaData(BaseModel):
    """cloud-init's NoCloud ``meta-data``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instance_id: Annotated[str, Field(min_length=1, alias="instance-id")]
    local_hostname: Annotated[str, AfterValidator(_host_name)] | None = Field(default=None, alias="local-hostname")
