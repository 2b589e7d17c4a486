"""Tokens that a machine carries: derived from the appliance's key, so that only hashes are stored.

A lost database or a backup therefore reveals none of them; a boot script that is asked for again can still
be given the same token.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from uuid import UUID

INSTALL_TOKEN = "@@INSTALL_TOKEN@@"  # noqa: S105 - what stands in its place until a file is served
MACHINE_TOKEN = "@@MACHINE_TOKEN@@"  # noqa: S105
SERVER = "@@SERVER@@"
"""The IPv4 address of the appliance that the machine reached, without a port."""
PLACEHOLDERS = (INSTALL_TOKEN, MACHINE_TOKEN, SERVER)


def install_token(key: bytes, install_id: UUID) -> str:
    """The token that the boot script of an armed machine carries (256 bits, base64url)."""
    return _derive(key, b"install", install_id)


def machine_token(key: bytes, install_id: UUID) -> str:
    """The token written into the installed system."""
    return _derive(key, b"machine", install_id)


def token_hash(token: str) -> str:
    """What is stored of any token: its sha256, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def fill(data: bytes, *, install_token: str, machine_token: str, server: str) -> bytes:
    """Put the secrets and the address that the machine reached into compiled bytes."""
    return (
        data.replace(INSTALL_TOKEN.encode(), install_token.encode())
        .replace(MACHINE_TOKEN.encode(), machine_token.encode())
        .replace(SERVER.encode(), server.encode())
    )


def _derive(key: bytes, purpose: bytes, install_id: UUID) -> str:
    return urlsafe_b64encode(hmac.digest(key, purpose + install_id.bytes, "sha256")).rstrip(b"=").decode()
