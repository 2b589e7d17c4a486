"""Where compiled bytes meet the tokens: the placeholders as text for templates, and the filling when served."""

from provisioner.domain.tokens import (
    INSTALL_PLACEHOLDER,
    MACHINE_PLACEHOLDER,
    SERVER_PLACEHOLDER,
    fill,
    install_token,
    machine_token,
    token_hash,
)

INSTALL_TOKEN = INSTALL_PLACEHOLDER.decode()
MACHINE_TOKEN = MACHINE_PLACEHOLDER.decode()
SERVER = SERVER_PLACEHOLDER.decode()
"""The IPv4 address of the appliance that the machine reached, without a port."""
PLACEHOLDERS = (INSTALL_TOKEN, MACHINE_TOKEN, SERVER)

__all__ = [
    "INSTALL_TOKEN",
    "MACHINE_TOKEN",
    "PLACEHOLDERS",
    "SERVER",
    "fill",
    "install_token",
    "machine_token",
    "token_hash",
]
