"""The v1alpha1 machine configuration of Talos: its head, whole; what is deeper, as far as an install needs it.

Source: Talos' configuration reference, v1alpha1. Further documents (``apiVersion: v1alpha1``, ``kind: …``) are
not written here; Talos refuses unknown keys by itself, at boot, where nobody looks.
"""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("is no https URL of the control plane, like https://192.0.2.10:6443")
    return url


def _token(token: str) -> str:
    left, dot, right = token.partition(".")
    if not (dot and len(left) == 6 and len(right) == 16 and (left + right).isalnum()):
        raise ValueError("is no token of the form abcdef.0123456789abcdef")
    return token


Token = Annotated[str, AfterValidator(_token)]


class KeyPair(_Section):
    """PEM, base64; a worker has no key."""

    crt: str
    key: str = ""


class Install(_Section):
    disk: str | None = None
    disk_selector: dict[str, Any] | None = None
    extra_kernel_args: list[str] | None = None
    image: str | None = None
    extensions: list[dict[str, Any]] | None = None
    wipe: bool | None = None
    legacy_bios_support: bool | None = Field(default=None, alias="legacyBIOSSupport")
    grub_use_uki_cmdline: bool | None = Field(default=None, alias="grubUseUKICmdline")

    @model_validator(mode="after")
    def _names_a_disk(self) -> "Install":
        if not self.disk and not self.disk_selector:
            raise ValueError("names no disk; set disk or diskSelector")
        return self


class MachineConfig(_Section):
    type: Literal["controlplane", "worker"]
    token: Token
    ca: KeyPair
    accepted_cas: list[KeyPair] | None = Field(default=None, alias="acceptedCAs")
    cert_sans: list[str] | None = Field(default=None, alias="certSANs")
    control_plane: dict[str, Any] | None = None
    kubelet: dict[str, Any] | None = None
    pods: list[dict[str, Any]] | None = None
    network: dict[str, Any] | None = None
    disks: list[dict[str, Any]] | None = None
    install: Install
    files: list[dict[str, Any]] | None = None
    env: dict[str, str] | None = None
    time: dict[str, Any] | None = None
    sysctls: dict[str, str] | None = None
    sysfs: dict[str, str] | None = None
    registries: dict[str, Any] | None = None
    system_disk_encryption: dict[str, Any] | None = None
    features: dict[str, Any] | None = None
    udev: dict[str, Any] | None = None
    logging: dict[str, Any] | None = None
    kernel: dict[str, Any] | None = None
    seccomp_profiles: list[dict[str, Any]] | None = None
    base_runtime_spec_overrides: dict[str, Any] | None = None
    node_labels: dict[str, str] | None = None
    node_annotations: dict[str, str] | None = None
    node_taints: dict[str, str] | None = None

    @model_validator(mode="after")
    def _has_the_keys_of_its_kind(self) -> "MachineConfig":
        if self.type == "controlplane" and not self.ca.key:
            raise ValueError("is a control plane without ca.key")
        if self.type == "worker" and self.ca.key:
            raise ValueError("is a worker and has ca.key, which stays with the control plane")
        return self


class ControlPlaneEndpoint(_Section):
    endpoint: Annotated[str, AfterValidator(_endpoint)]
    local_api_server_port: int | None = Field(default=None, alias="localAPIServerPort")


class ClusterConfig(_Section):
    id: str | None = None
    secret: str | None = None
    control_plane: ControlPlaneEndpoint
    cluster_name: str | None = None
    network: dict[str, Any] | None = None
    token: Token
    aescbc_encryption_secret: str | None = Field(default=None, alias="aescbcEncryptionSecret")
    secretbox_encryption_secret: str | None = Field(default=None, alias="secretboxEncryptionSecret")
    ca: KeyPair
    accepted_cas: list[KeyPair] | None = Field(default=None, alias="acceptedCAs")
    aggregator_ca: KeyPair | None = Field(default=None, alias="aggregatorCA")
    service_account: dict[str, str] | None = None
    api_server: dict[str, Any] | None = None
    controller_manager: dict[str, Any] | None = None
    proxy: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    discovery: dict[str, Any] | None = None
    etcd: dict[str, Any] | None = None
    core_dns: dict[str, Any] | None = Field(default=None, alias="coreDNS")
    external_cloud_provider: dict[str, Any] | None = None
    extra_manifests: list[str] | None = None
    extra_manifest_headers: dict[str, str] | None = None
    inline_manifests: list[dict[str, Any]] | None = None
    admin_kubeconfig: dict[str, Any] | None = None
    allow_scheduling_on_control_planes: bool | None = None


class Talos(_Section):
    """The whole document."""

    version: Literal["v1alpha1"]
    debug: bool | None = None
    persist: bool | None = None
    machine: MachineConfig
    cluster: ClusterConfig
