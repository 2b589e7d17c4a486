"""The variables that templates see, as plain data.

What design part 6 lists and nothing else: a template never sees a domain object, so it can neither reach
beyond its machine nor depend on how the appliance is built.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.boot.release import FAMILIES, IGNITION_FORMATS, Netboot
from provisioner.boot.roles import Role
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.domain.machine import Machine
from provisioner.domain.subnet import Subnet
from provisioner.domain.tokens import INSTALL_TOKEN, MACHINE_TOKEN, PLACEHOLDERS, SERVER

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_DOMAIN = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.?\Z", re.I)


def build(
    machine: Machine,
    inventory: Inventory,
    role: Role,
    params: Mapping[str, Any],
    boot: Netboot,
    payload: Sequence[Mapping[str, str]],
) -> tuple[dict[str, Any], list[str]]:
    """The context and what the operator should know about it (peers that cannot be listed).

    Raises Refused for a machine that lacks its address or subnet, and for values that could not stand in a
    config whatever the template does.
    """
    subnet = subnet_of(machine, inventory)
    if role.settings.payload and boot.family not in FAMILIES:
        raise Refused(
            f"role {role.name} has payload, which install.sh puts in place, and this format has none",
            "fetch it from {{ urls.payload }}/PATH in the role's own files",
        )
    neighbours, warnings = _cluster(machine, inventory)
    cluster = inventory.clusters.get(machine.slot.cluster)
    warnings += _missing(machine, role, neighbours)
    context = {
        "machine": machine_facts(machine, subnet),
        "role": {
            "name": role.name,
            "description": role.settings.description,
            "revision": role.revision,
            "image": {"name": boot.release.image, "version": boot.release.version, "media": boot.media},
            "system": boot.system,
            "ignition": role.settings.format in IGNITION_FORMATS,
            "consoles": [word for word in role.settings.kernel_arguments if word.startswith("console=")],
            "install_disk": {
                "rule": role.settings.install_disk.rule,
                "min_bytes": role.settings.install_disk.min_bytes,
            },
            "wipe": wipe_policy(machine, role),
            "payload": [dict(file) for file in payload],
            "autologin": role.settings.autologin,
        },
        "params": dict(params),
        "cluster": {
            "name": machine.slot.cluster,
            "endpoint": cluster.endpoint if cluster else "",
            "machines": neighbours,
        },
        "urls": urls() | {"image": boot.release.url},
        "appliance": {"address": SERVER},
    }
    _refuse_placeholders(context["machine"], "machine")
    _refuse_placeholders(context["params"], "params")
    return context, warnings


def urls() -> dict[str, str]:
    """Where a machine finds its parts and reports; placeholders until served."""
    base = f"http://{SERVER}/b/{INSTALL_TOKEN}"
    return {
        "files": base,
        "pxe": f"{base}/pxe.yml",
        "install": f"{base}/install.sh",
        "config": f"{base}/config.yml",
        "ignition": f"{base}/ignition.json",
        "network": f"{base}/network",
        "peers": f"{base}/peers",
        "progress": f"{base}/progress",
        "log": f"{base}/log",
        "complete": f"{base}/complete",
        "failed": f"{base}/failed",
        "active": f"http://{SERVER}/m/{MACHINE_TOKEN}/active",
        "images": f"http://{SERVER}:8081/images",
        "payload": f"http://{SERVER}:8081/payload",
    }


def subnet_of(machine: Machine, inventory: Inventory) -> Subnet:
    """The subnet of the machine's address. Raises Refused when either is missing."""
    if machine.boot_mac is None:
        raise Refused(
            f"machine {machine.name} has no MAC", f"`provisioner machine set {machine.name} --mac 52:54:00:…`"
        )
    if machine.ip is None:
        raise Refused(
            f"machine {machine.name} has no address",
            f"`provisioner machine set {machine.name} --ip ADDRESS` or `provisioner allocate apply`",
        )
    subnet = inventory.subnet_of(machine.ip)
    if subnet is None:
        raise Refused(
            f"address {machine.ip} of machine {machine.name} lies in no subnet",
            "`provisioner subnet add PREFIX --gateway G --dns D` for its network",
        )
    return subnet


def machine_facts(machine: Machine, subnet: Subnet) -> dict[str, Any]:
    """``machine`` as templates see it; addresses as text, what is not known as an empty text."""
    if not _LABEL.match(machine.name):
        raise InvalidValue(
            "name", machine.name, "is no host name", "use lower-case letters, digits and -, at most 63"
        )
    if subnet.domain and not _DOMAIN.match(subnet.domain):
        raise InvalidValue("domain", subnet.domain, "is no domain name", f"correct it on subnet {subnet.prefix}")
    slot = machine.slot
    return {
        "name": machine.name,
        "mac": str(machine.boot_mac),
        "ip": str(machine.ip),
        "prefixlen": subnet.prefix.prefixlen,
        "gateway": str(subnet.gateway or ""),
        "dns": [str(ip) for ip in subnet.dns],
        "ntp": [str(ip) for ip in subnet.ntp],
        "domain": subnet.domain,
        "slot": {
            "name": slot.name,
            "rack": slot.rack,
            "chassis": slot.chassis,
            "unit": "" if slot.unit is None else slot.unit,
            "blade": "" if slot.blade is None else slot.blade,
        },
        "serial": machine.serial,
        "labels": dict(machine.labels),
    }


def _cluster(machine: Machine, inventory: Inventory) -> tuple[list[dict[str, Any]], list[str]]:
    """The members of the machine's cluster, itself included; a machine without a cluster is its own."""
    cluster = machine.slot.cluster
    others = (
        [m for m in inventory.machines.values() if m.slot.cluster == cluster and m.id != machine.id]
        if cluster
        else []
    )
    members, warnings = [], []
    for member in sorted([machine, *others], key=slot_order):
        address, mac = member.ip, member.boot_mac
        if address is None or mac is None:
            warnings.append(f"{member.name} of cluster {cluster} has no address yet and is not among the peers")
            continue
        members.append(
            {
                "name": member.name,
                "mac": str(mac),
                "ip": str(address),
                "role": member.slot.role,
                "serial": member.serial,
                "labels": dict(member.labels),
            }
        )
    return members, warnings


def _missing(machine: Machine, role: Role, members: Sequence[Mapping[str, Any]]) -> list[str]:
    """A word for each role that this one works with and the cluster does not have yet."""
    there, cluster = {member["role"] for member in members}, machine.slot.cluster
    where = f"cluster {cluster}" if cluster else f"{machine.name}, which is in no cluster,"
    return [
        f"{where} has no member with role {name} yet; "
        f"`provisioner machine set NAME --cluster {cluster or 'C'} --role {name}`"
        for name in role.settings.needs
        if name not in there
    ]


def _refuse_placeholders(value: Any, place: str) -> None:
    """A fact that spells a placeholder would be replaced by a secret when the config is served."""
    match value:
        case str():
            if found := next((p for p in PLACEHOLDERS if p in value), None):
                raise InvalidValue(place, value, f"contains the reserved text {found}", "remove it")
        case Mapping():
            for key, item in value.items():
                _refuse_placeholders(str(key), place)
                _refuse_placeholders(item, f"{place}.{key}")
        case list() | tuple():
            for item in value:
                _refuse_placeholders(item, place)


def wipe_policy(machine: Machine, role: Role) -> str:
    """The role's word, or ``foreign`` where the operator allowed it for this one install."""
    allowed = machine.install is not None and machine.install.open and machine.install.wipe
    return "foreign" if allowed and role.settings.wipe == "never" else role.settings.wipe
