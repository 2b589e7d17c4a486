"""The keys of a CoreOS cloud-config, all of them.

Source: coreos-cloudinit's ``config`` package (struct tags and ``valid:`` patterns), the reader in CoreOS and
Flatcar. It ignores what it does not know; here that is a fault, because an ignored key is a machine that is
not what its role says. ``-`` in keys is read as ``_`` before these models see them.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, create_model, model_validator

_STRICT = ConfigDict(extra="forbid", strict=True)


def _is_scalar(value: Any) -> Any:
    match value:
        # coreos-cloudinit prints it into Environment="NAME=value" of a drop-in, and escapes nothing.
        case str() if re.search(r'[\x00-\x1f\x7f"\\]', value):
            raise ValueError('must be one line without " and backslash')
        case str() | int() | float():
            return value
    raise ValueError("must be text, a number, true or false")


Scalar = Annotated[Any, AfterValidator(_is_scalar)]
"""Environment of a daemon: coreos-cloudinit prints numbers and booleans as text."""


class _Section(BaseModel):
    model_config = _STRICT


def _matching(pattern: str, wanted: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"is not {wanted}")
        return value

    return AfterValidator(check)


HostName = Annotated[
    str,
    _matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
        "a host name of lower-case letters, digits and -",
    ),
]
OneLine = Annotated[str, _matching(r"[^\x00-\x1f\x7f]+", "one line of text")]
AccountName = Annotated[str, _matching(r"[a-z_][a-z0-9_-]{0,31}", "an account name like core")]
Permissions = Annotated[str, _matching(r"0?[0-7]{3,4}", 'a file mode; write it quoted, like "0644"')]
Owner = Annotated[str, _matching(r"[A-Za-z0-9_-]+(:[A-Za-z0-9_-]+)?", "USER or USER:GROUP")]
UnitName = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9:_.\\@-]{1,200}\."
        r"(service|socket|device|mount|automount|swap|target|path|timer|slice|scope|network|netdev|link)",
        "a unit name; it ends in .service, .timer, .network or another type of unit",
    ),
]
DropInName = Annotated[str, _matching(r"[A-Za-z0-9:_.\\@-]{1,200}\.conf", "a drop-in name; it ends in .conf")]


def _writable(path: str) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/") or path.endswith("/"):
        raise ValueError("is not an absolute path of a file")
    if path.startswith("/usr/"):
        raise ValueError("lies below /usr, which is read-only; use /etc or /opt")
    return path


class User(_Section):
    name: AccountName
    passwd: OneLine | None = None
    ssh_authorized_keys: list[OneLine] | None = None
    coreos_ssh_import_github: str | None = None
    coreos_ssh_import_github_users: list[str] | None = None
    coreos_ssh_import_url: str | None = None
    gecos: OneLine | None = None
    homedir: OneLine | None = None
    no_create_home: bool | None = None
    primary_group: AccountName | None = None
    groups: list[AccountName] | None = None
    no_user_group: bool | None = None
    system: bool | None = None
    no_log_init: bool | None = None
    shell: OneLine | None = None


class File(_Section):
    path: Annotated[str, AfterValidator(_writable)]
    content: str = ""
    encoding: (
        Literal["", "base64", "b64", "gz", "gzip", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64"] | None
    ) = None
    owner: Owner | None = None
    permissions: Permissions | None = None


class DropIn(_Section):
    name: DropInName
    content: str = ""


class Unit(_Section):
    name: UnitName
    runtime: bool | None = None
    enable: bool | None = None
    mask: bool | None = None
    content: str | None = None
    command: (
        Literal[
            "", "start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart"
        ]
        | None
    ) = None
    drop_ins: list[DropIn] | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "Unit":
        if not (self.content or self.command or self.drop_ins or self.enable or self.mask):
            raise ValueError("does nothing; give it content, a command, enable, mask or drop-ins")
        if self.mask and (self.content or self.command in ("start", "restart")):
            raise ValueError("is masked and also to be written or started; choose one")
        return self


class Update(_Section):
    # ruamel reads YAML 1.2, where off is text; coreos-cloudinit takes off and false alike.
    reboot_strategy: Literal["best-effort", "etcd-lock", "reboot", "off", "false", False] | None = None
    group: OneLine | None = None
    server: OneLine | None = None


class Locksmith(_Section):
    endpoint: str | None = None
    etcd_cafile: str | None = None
    etcd_certfile: str | None = None
    etcd_keyfile: str | None = None
    etcd_username: str | None = None
    etcd_password: str | None = None
    group: str | None = None
    window_start: (
        Annotated[
            str,
            _matching(r"(?i:(sun|mon|tue|wed|thu|fri|sat) )?0*(\d|1\d|2[0-3]):0*(\d|[1-5]\d)", "like `Thu 04:00`"),
        ]
        | None
    ) = None
    window_length: Annotated[str, _matching(r"[-+]?(\d*(\.\d*)?[a-z]+)+", "a duration like 1h30m")] | None = None


class Oem(_Section):
    id: Scalar | None = None
    name: Scalar | None = None
    version_id: Scalar | None = None
    home_url: Scalar | None = None
    bug_report_url: Scalar | None = None


def _daemon(name: str, keys: str) -> type[_Section]:
    """A section whose keys become environment variables of a daemon; any scalar will do."""
    fields: dict[str, Any] = dict.fromkeys(keys.split(), (Scalar | None, None))
    return create_model(name, __base__=_Section, **fields)


Etcd = _daemon(
    "Etcd",
    """addr bind_addr ca_file cert_file cluster_active_size cluster_remove_delay cluster_sync_interval cors
    cpu_profile_file data_dir discovery graphite_host http_read_timeout http_write_timeout key_file
    max_result_buffer max_retry_attempts name peer_addr peer_bind_addr peer_ca_file peer_cert_file
    peer_election_timeout peer_heartbeat_interval peer_key_file peers peers_file retry_interval snapshot
    snapshot_count trace verbose very_verbose very_very_verbose""",
)
Etcd2 = _daemon(
    "Etcd2",
    """advertise_client_urls ca_file cert_file client_cert_auth cors data_dir debug discovery discovery_fallback
    discovery_proxy discovery_srv election_timeout enable_pprof force_new_cluster heartbeat_interval
    initial_advertise_peer_urls initial_cluster initial_cluster_state initial_cluster_token key_file
    listen_client_urls listen_peer_urls log_package_levels max_snapshots max_wals name peer_ca_file
    peer_cert_file peer_client_cert_auth peer_key_file peer_trusted_ca_file proxy proxy_dial_timeout
    proxy_failure_wait proxy_read_timeout proxy_refresh_interval proxy_write_timeout snapshot_count
    strict_reconfig_check trusted_ca_file wal_dir""",
)
Fleet = _daemon(
    "Fleet",
    """agent_ttl authorized_keys_file disable_engine disable_watches engine_reconcile_interval etcd_cafile
    etcd_certfile etcd_key_prefix etcd_keyfile etcd_password etcd_request_timeout etcd_servers etcd_username
    metadata public_ip token_limit verbosity verify_units""",
)
Flannel = _daemon(
    "Flannel",
    """etcd_cafile etcd_certfile etcd_endpoint etcd_endpoints etcd_keyfile etcd_password etcd_prefix
    etcd_username iface interface ip_masq public_ip subnet_file""",
)


class CoreOS(_Section):
    etcd: Etcd | None = None  # type: ignore[valid-type]
    etcd2: Etcd2 | None = None  # type: ignore[valid-type]
    fleet: Fleet | None = None  # type: ignore[valid-type]
    flannel: Flannel | None = None  # type: ignore[valid-type]
    locksmith: Locksmith | None = None
    oem: Oem | None = None
    update: Update | None = None
    units: list[Unit] | None = None


class CloudConfig(_Section):
    hostname: HostName | None = None
    manage_etc_hosts: Literal["localhost"] | None = None
    ssh_authorized_keys: list[OneLine] | None = None
    users: list[User] | None = None
    write_files: list[File] | None = None
    coreos: CoreOS | None = None
