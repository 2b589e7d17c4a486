"""Tokens that a machine carries: derived from the appliance's key, so that only hashes are stored.

A lost database or a backup therefore reveals none of them; a boot script that is asked for again can still
be given the same token.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from uuid import UUID

INSTALL_TOKEN = "@@INSTALL_TOKEN@@"  # noqa: S105 - what stands in its place until a file is served
MACHINE_TOKEN = "@@MACHINE_TOKEN@@"  # noqa: S105
SERVER = "@@SERVER@@"
"""The IPv4 address of the appliance that the machine reached, without a port."""
JOIN_TOKEN = "@@JOIN_TOKEN@@"  # noqa: S105
MENU_PASS = "@@MENU_PASS@@"  # noqa: S105
"""What binds a choice to a boot menu that we showed."""
CLUSTER_KEY = "@@CLUSTER_KEY:"
"""Begins the placeholder of a key or secret that a cluster's control planes share."""
PLACEHOLDERS = (INSTALL_TOKEN, MACHINE_TOKEN, SERVER, JOIN_TOKEN, MENU_PASS, CLUSTER_KEY)
JOINING = "joining"
"""The secret by which a control plane may ask which machines are to join."""
_CLUSTER_KEY = re.compile(rb"@@CLUSTER_KEY:([a-z-]+):([0-9a-f-]{36})@@")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

ClusterKeys = Callable[[str, UUID], str]
"""A key by its name and the cluster's id, on one line."""


def install_token(key: bytes, install_id: UUID) -> str:
    """The token that the boot script of an armed machine carries (256 bits, base64url)."""
    return _derive(key, b"install", install_id)


def machine_token(key: bytes, install_id: UUID) -> str:
    """The token written into the installed system."""
    return _derive(key, b"machine", install_id)


def token_hash(token: str) -> str:
    """What is stored of any token: its sha256, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def join_token(key: bytes, install_id: UUID) -> str:
    """The bootstrap token with which this install joins its Kubernetes cluster: ``abcdef.0123456789abcdef``."""
    number, letters = int.from_bytes(hmac.digest(key, b"join" + install_id.bytes, "sha256")), []
    for _ in range(22):
        number, digit = divmod(number, 36)
        letters.append(_BASE36[digit])
    return "".join((*letters[:6], ".", *letters[6:]))


def joining_secret(key: bytes, cluster: UUID) -> str:
    """What the control planes of a cluster know, and its workers don't (256 bits, base64url)."""
    return _derive(key, JOINING.encode(), cluster)


def cluster_key_placeholder(name: str, cluster: UUID) -> str:
    """What stands for a key of a cluster until a file is served."""
    return f"{CLUSTER_KEY}{name}:{cluster}@@"


def no_cluster_keys(name: str, cluster: UUID) -> str:
    """For what is served to machines without a role. Raises KeyError."""
    raise KeyError(f"{name} of {cluster}")


def fill(
    data: bytes,
    *,
    install_token: str,
    machine_token: str,
    server: str,
    join_token: str = "",
    menu_pass: str = "",
    cluster_keys: ClusterKeys = no_cluster_keys,
) -> bytes:
    """Put the secrets and the address that the machine reached into compiled bytes."""
    filled = (
        data.replace(INSTALL_TOKEN.encode(), install_token.encode())
        .replace(MACHINE_TOKEN.encode(), machine_token.encode())
        .replace(JOIN_TOKEN.encode(), join_token.encode())
        .replace(MENU_PASS.encode(), menu_pass.encode())
        .replace(SERVER.encode(), server.encode())
    )
    return _CLUSTER_KEY.sub(lambda m: cluster_keys(m[1].decode(), UUID(m[2].decode())).encode(), filled)


def _derive(key: bytes, purpose: bytes, install_id: UUID) -> str:
    return urlsafe_b64encode(hmac.digest(key, purpose + install_id.bytes, "sha256")).rstrip(b"=").decode()
