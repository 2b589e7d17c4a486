"""Prometheus' HTTP service discovery: the machines that run, as targets of a scrape.

The answer is what ``http_sd_configs`` reads: a list of ``{"targets": [...], "labels": {...}}``
(https://prometheus.io/docs/prometheus/latest/http_sd/).
"""

import re
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from provisioner.domain.inventory import slot_order
from provisioner.domain.machine import IPAddress, Machine, State
from provisioner.web.parts import Parts

_PREFIX = "__meta_provisioner_"
# What Prometheus takes as the name of a label, its data model's rule.
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


class Targets(BaseModel):
    """One machine. Labels that begin with two underscores are for ``relabel_configs`` and are dropped after it."""

    targets: list[str]
    labels: dict[str, str]


class Discovery:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def targets(
        self,
        port: Annotated[int, Query(ge=1, le=65535, description="Where the exporter listens.")] = 9100,
        role: Annotated[str, Query(description="Only machines with this role.", max_length=200)] = "",
        cluster: Annotated[str, Query(description="Only machines of this cluster.", max_length=200)] = "",
    ) -> list[Targets]:
        """Active machines with an address, in the order of their slots, from the snapshot."""
        machines = self._parts.snapshot.inventory.machines.values()
        return [
            Targets(targets=[_target(machine.ip, port)], labels=_labels(machine))
            for machine in sorted(machines, key=slot_order)
            if machine.state is State.ACTIVE
            and machine.ip is not None
            and role in ("", machine.slot.role)
            and cluster in ("", machine.slot.cluster)
        ]


def _target(ip: IPAddress, port: int) -> str:
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _labels(machine: Machine) -> dict[str, str]:
    slot = machine.slot
    facts = {"name": slot.name, "role": slot.role, "cluster": slot.cluster, "rack": slot.rack}
    facts |= {f"label_{_NOT_IN_A_NAME.sub('_', key)}": value for key, value in sorted(machine.labels.items())}
    return {_PREFIX + key: value for key, value in facts.items()}
