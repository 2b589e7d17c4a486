"""Tokens that a machine shows, and the placeholders that stand for them in compiled bytes.

Tokens are derived from the appliance's key and the install's id, never stored: the database keeps their
sha256 only, and compiled text names them by placeholder until the moment it is served.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from ipaddress import IPv4Address
from uuid import UUID

INSTALL_TOKEN = "@@INSTALL_TOKEN@@"  # noqa: S105 - the placeholder, not the token
MACHINE_TOKEN = "@@MACHINE_TOKEN@@"  # noqa: S105
SERVER = "@@SERVER@@"
"""The IPv4 address of the appliance that the machine reached, without a port."""
PLACEHOLDERS = (INSTALL_TOKEN, MACHINE_TOKEN, SERVER)


def install_token(key: bytes, install_id: UUID) -> str:
    """The token of one install, for ``/b/{token}/``: 43 characters of base64url without padding."""
    return _derive(key, b"provisioner install token v1", install_id)


def machine_token(key: bytes, install_id: UUID) -> str:
    """The token that the installed system keeps, for ``/m/{token}/``: 43 characters of base64url."""
    return _derive(key, b"provisioner machine token v1", install_id)


def token_hash(token: str) -> str:
    """What is stored of a token: the hexadecimal sha256 of its text."""
    return hashlib.sha256(token.encode()).hexdigest()


def fill(data: bytes, *, install_token: str, machine_token: str, server: str) -> bytes:
    """Compiled bytes as this machine gets them.

    ``server`` is the IPv4 literal on which the machine reached the appliance; anything else raises
    ValueError, because it would be written into scripts.
    """
    address = str(IPv4Address(server))
    for placeholder, value in ((INSTALL_TOKEN, install_token), (MACHINE_TOKEN, machine_token), (SERVER, address)):
        data = data.replace(placeholder.encode(), value.encode())
    return data


def _derive(key: bytes, purpose: bytes, install_id: UUID) -> str:
    digest = hmac.new(key, purpose + b"\0" + install_id.bytes, hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
