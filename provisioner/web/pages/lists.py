"""The smaller lists, as columns and lines of text; an empty one teaches the command that fills it."""

from typing import Any

from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.subnet import Subnet
from provisioner.web.parts import Parts


def subnets(parts: Parts) -> dict[str, Any]:
    """From the snapshot."""
    listed = parts.snapshot.inventory.subnets
    return {
        "heading": "Subnets",
        "columns": ("Prefix", "Gateway", "DNS", "VLAN", "Dynamic addresses", "Unlisted machines", "Arming"),
        "addresses": (0, 1, 2, 4),
        "lines": [_subnet(subnet) for subnet in listed],
        "available": True,
        "hint": "Change one:",
        "empty": "No subnet is listed: nobody gets an address until one is. Name the machines’ network.",
        "command": f"provisioner subnet set {listed[0].prefix} --dns ADDRESS"
        if listed
        else "provisioner subnet add 10.12.1.0/24 --gateway 10.12.1.254 --dns 10.12.1.254",
    }


def bmcs(parts: Parts) -> dict[str, Any]:
    """From storage; BMCs are not part of the snapshot."""
    try:
        with parts.store.reading() as tx:
            listed = tx.bmcs.list()
        available = True
    except StoreUnavailable:
        listed, available = (), False
    behind = {machine.bmc_id: machine.name for machine in parts.snapshot.inventory.machines.values()}
    return {
        "heading": "BMCs",
        "columns": ("Address", "Protocol", "Port", "Chassis", "Machine", "Login"),
        "addresses": (0,),
        "lines": [
            (
                bmc.address,
                bmc.protocol,
                str(bmc.port),
                bmc.chassis,
                behind.get(bmc.id, ""),
                "known" if bmc.credential_id else "missing",
            )
            for bmc in listed
        ],
        "available": available,
        "hint": "Ask them all which machine they belong to:",
        "empty": "No BMC is listed. With its address and login the appliance reads the machine’s MACs by itself.",
        "command": "provisioner bmc harvest" if listed else "provisioner bmc add ADDRESS --user U --password-stdin",
    }


def _subnet(subnet: Subnet) -> tuple[str, ...]:
    return (
        str(subnet.prefix),
        str(subnet.gateway or ""),
        ", ".join(str(server) for server in subnet.dns),
        str(subnet.vlan or ""),
        ", ".join(f"{pool.first} – {pool.last}" for pool in subnet.pools),
        subnet.unknown.value,
        subnet.arm,
    )
