"""What a machine gets of its cluster's secrets: nothing, what a member needs, or what control planes share."""

from collections.abc import Mapping
from typing import Any

from provisioner.boot import pki
from provisioner.boot.roles import Role
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from provisioner.domain.tokens import (
    CLUSTER_KEY,
    JOIN_TOKEN,
    JOINING,
    MACHINE_TOKEN,
    SERVER,
    cluster_key_placeholder,
)


def granted(role: Role, machine: Machine, inventory: Inventory, key: bytes) -> dict[str, Any]:
    """As templates see them: ``cluster.join_token`` and ``pki``; for keys also ``secret`` and ``joining_url``.

    Keys and tokens are placeholders until a file is served. Raises Refused when the cluster is not listed.
    """
    if role.settings.trust == "none":
        return {}
    name = machine.slot.cluster
    cluster = inventory.clusters.get(name)
    if cluster is None and role.settings.trust == "member-if-listed":
        return {}
    if cluster is None:
        raise Refused(
            f"role {role.name} needs a cluster that is listed, and {machine.name} is in {name or 'none'}",
            f"`provisioner cluster add {name or 'C'} --endpoint ADDRESS:6443`, and put the machine into it",
        )
    shown: dict[str, Any] = {"join_token": JOIN_TOKEN, "pki": dict(pki.public(key, cluster.id))}
    if role.settings.trust == "keys":
        shown["pki"] |= pki.placeholders(cluster.id)
        secret = cluster_key_placeholder(JOINING, cluster.id)
        shown["secret"] = secret
        shown["joining_url"] = f"http://{SERVER}/m/{MACHINE_TOKEN}/joining/{secret}"
    return shown


def refuse_stray_keys(role: Role, rendered: Mapping[str, str]) -> None:
    """A key goes only where the role says so, however a template came to spell it. Raises Refused."""
    stray = [part for part, text in rendered.items() if CLUSTER_KEY in text]
    if stray and role.settings.trust != "keys":
        raise Refused(
            f"role {role.name} writes a key of its cluster into {', '.join(stray)}",
            "only a role with `trust: keys` may hold one",
        )
