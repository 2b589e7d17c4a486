"""Ignition config, specification 3.3.0, all of it.

Source: Ignition's ``configuration-v3_3`` document and its validators. Ignition only warns of a key that it does
not know; here that is a fault, because an ignored key is a machine that is not what its role says. Fields are
spelled as Butane spells them (``snake_case``); Ignition's own spelling is the alias.
"""

import base64
import binascii
import re
from typing import Annotated, Literal
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

VERSION = "3.3.0"
_UNIT_TYPES = "service|socket|device|mount|automount|swap|target|path|timer|snapshot|slice|scope"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


def _matching(pattern: str, wanted: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"is not {wanted}")
        return value

    return AfterValidator(check)


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or {"..", "."} & set(path.split("/")) or "//" in path:
        raise ValueError("is not an absolute path without . and ..")
    if path.endswith("/") and path != "/":
        raise ValueError("ends in /")
    return path


def data_of(url: str) -> bytes:
    """What a ``data:`` URL carries (RFC 2397). Raises ValueError."""
    head, comma, rest = url.partition(",")
    if not comma:
        raise ValueError("is a data URL without a comma")
    raw = unquote_to_bytes(rest)
    if not head.endswith(";base64"):
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is a data URL whose base64 is damaged ({error})") from None


def _source(url: str) -> str:
    if url.startswith("data:"):
        data_of(url)
    elif url and not re.match(r"(https?|tftp|s3|gs)://[^/\s]+", url):
        raise ValueError("is no URL that Ignition fetches; it takes http, https, tftp, s3, gs and data")
    return url


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Mode = Annotated[int, Field(ge=0, le=0o7777)]
Hash = Annotated[
    str, _matching(r"sha512-[0-9a-f]{128}|sha256-[0-9a-f]{64}", "a hash; write sha512-HEX or sha256-HEX, whole")
]
UnitName = Annotated[
    str, _matching(rf"[A-Za-z0-9:_.\\@-]{{1,200}}\.({_UNIT_TYPES})", "a unit name; it ends in .service, .timer, …")
]
DropInName = Annotated[str, _matching(r"[A-Za-z0-9:_.\\@-]{1,200}\.conf", "a drop-in name; it ends in .conf")]
Label = Annotated[str, _matching(r"[^:]{0,36}", "a partition label of at most 36 characters without :")]
Guid = Annotated[
    str, _matching(r"|[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", "a GUID in capitals, like 0FC63DAF-8483-…")
]


class Verification(_Section):
    hash: Hash | None = None


class Header(_Section):
    name: Annotated[str, _matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of an HTTP header")]
    value: str | None = None


class Resource(_Section):
    source: Annotated[str, AfterValidator(_source)] | None = None
    compression: Literal["", "gzip"] | None = None
    http_headers: list[Header] | None = None
    verification: Verification | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> "Resource":
        if self.source is None and (self.compression or self.verification or self.http_headers):
            raise ValueError("has compression, headers or a hash, and no source")
        if self.http_headers and not (self.source or "").startswith("http"):
            raise ValueError("has HTTP headers for a source that is not HTTP")
        return self


class Merge(_Section):
    merge: list[Resource] | None = None
    replace: Resource | None = None


class Proxy(_Section):
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: list[str] | None = None


class Tls(_Section):
    certificate_authorities: list[Resource] | None = None


class Security(_Section):
    tls: Tls | None = None


class Timeouts(_Section):
    http_response_headers: int | None = None
    http_total: int | None = None


class Head(_Section):
    version: Annotated[str, _matching(re.escape(VERSION), f"{VERSION}, the version that is checked here")]
    config: Merge | None = None
    proxy: Proxy | None = None
    security: Security | None = None
    timeouts: Timeouts | None = None


class Partition(_Section):
    number: Annotated[int, Field(ge=0, le=128)] | None = None
    label: Label | None = None
    size_mib: int | None = Field(default=None, alias="sizeMiB")
    start_mib: int | None = Field(default=None, alias="startMiB")
    type_guid: Guid | None = None
    guid: Guid | None = None
    wipe_partition_entry: bool | None = None
    should_exist: bool | None = None
    resize: bool | None = None

    @model_validator(mode="after")
    def _is_named(self) -> "Partition":
        if not self.number and not self.label:
            raise ValueError("has neither a number nor a label")
        return self


class Disk(_Section):
    device: AbsolutePath
    wipe_table: bool | None = None
    partitions: list[Partition] | None = None


class Raid(_Section):
    name: Annotated[str, _matching(r"[A-Za-z0-9_.-]{1,64}", "the name of an array")]
    level: Literal[
        "linear", "raid0", "0", "stripe", "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6",
        "raid10", "10",
    ]  # fmt: skip
    devices: Annotated[list[AbsolutePath], Field(min_length=1)]
    spares: int | None = None
    options: list[str] | None = None


class Filesystem(_Section):
    device: AbsolutePath
    format: Literal["", "none", "ext4", "btrfs", "xfs", "vfat", "swap"] | None = None
    path: AbsolutePath | None = None
    wipe_filesystem: bool | None = None
    label: str | None = None
    uuid: str | None = None
    options: list[str] | None = None
    mount_options: list[str] | None = None


class Owner(_Section):
    id: int | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Owner":
        if self.id is not None and self.name:
            raise ValueError("has an id and a name; keep one")
        return self


class _Node(_Section):
    path: AbsolutePath
    overwrite: bool | None = None
    user: Owner | None = None
    group: Owner | None = None


class File(_Node):
    contents: Resource | None = None
    append: list[Resource] | None = None
    mode: Mode | None = None

    @model_validator(mode="after")
    def _has_contents(self) -> "File":
        if self.overwrite and (self.contents is None or self.contents.source is None):
            raise ValueError("is to be overwritten and has no contents; give it contents")
        return self


class Directory(_Node):
    mode: Mode | None = None


class Link(_Node):
    target: Annotated[str, Field(min_length=1)]
    hard: bool | None = None


class ClevisCustom(_Section):
    pin: Literal["tpm2", "tang", "sss"] | None = None
    config: str | None = None
    needs_network: bool | None = None


class Tang(_Section):
    url: Annotated[str, AfterValidator(_source)]
    thumbprint: Annotated[str, Field(min_length=1)]


class Clevis(_Section):
    custom: ClevisCustom | None = None
    tpm2: bool | None = None
    threshold: int | None = None
    tang: list[Tang] | None = None


class Luks(_Section):
    name: Annotated[str, _matching(r"[A-Za-z0-9_.-]{1,64}", "the name of a LUKS device")]
    device: AbsolutePath
    key_file: Resource | None = None
    label: str | None = None
    uuid: str | None = None
    options: list[str] | None = None
    wipe_volume: bool | None = None
    clevis: Clevis | None = None


class Storage(_Section):
    disks: list[Disk] | None = None
    raid: list[Raid] | None = None
    filesystems: list[Filesystem] | None = None
    files: list[File] | None = None
    directories: list[Directory] | None = None
    links: list[Link] | None = None
    luks: list[Luks] | None = None


class DropIn(_Section):
    name: DropInName
    contents: str | None = None


class Unit(_Section):
    name: UnitName
    enabled: bool | None = None
    mask: bool | None = None
    contents: str | None = None
    dropins: list[DropIn] | None = None


class Systemd(_Section):
    units: list[Unit] | None = None


class User(_Section):
    name: Annotated[str, _matching(r"[a-z_][a-z0-9_-]{0,31}", "an account name like core")]
    password_hash: str | None = None
    ssh_authorized_keys: list[Annotated[str, _matching(r"[^\x00-\x1f\x7f]+", "one line of text")]] | None = None
    uid: int | None = None
    gecos: str | None = None
    home_dir: AbsolutePath | None = None
    no_create_home: bool | None = None
    primary_group: str | None = None
    groups: list[str] | None = None
    no_user_group: bool | None = None
    system: bool | None = None
    no_log_init: bool | None = None
    shell: str | None = None
    should_exist: bool | None = None


class Group(_Section):
    name: Annotated[str, _matching(r"[a-z_][a-z0-9_-]{0,31}", "a group name")]
    gid: int | None = None
    password_hash: str | None = None
    system: bool | None = None
    should_exist: bool | None = None


class Passwd(_Section):
    users: list[User] | None = None
    groups: list[Group] | None = None


class KernelArguments(_Section):
    should_exist: list[str] | None = None
    should_not_exist: list[str] | None = None


class Ignition(_Section):
    """The whole document."""

    ignition: Head
    storage: Storage | None = None
    systemd: Systemd | None = None
    passwd: Passwd | None = None
    kernel_arguments: KernelArguments | None = None


UNIQUE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("storage", "disks"), "device"),
    (("storage", "raid"), "name"),
    (("storage", "filesystems"), "device"),
    (("storage", "luks"), "name"),
    (("systemd", "units"), "name"),
    (("passwd", "users"), "name"),
    (("passwd", "groups"), "name"),
)
"""Lists whose entries are known by one key."""
NODES: tuple[tuple[str, ...], ...] = (("storage", "files"), ("storage", "directories"), ("storage", "links"))
"""Files, directories and links share their paths."""
