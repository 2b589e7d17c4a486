"""Which machines may join a cluster now: asked by its control planes, which make each token valid for a while."""

import hmac
from typing import NamedTuple

from provisioner.actions.front import Front
from provisioner.actions.refusals import refuse
from provisioner.domain.admission import at_its_place
from provisioner.domain.inventory import slot_order
from provisioner.domain.machine import IPAddress, Machine, State
from provisioner.domain.tokens import join_token, joining_secret, token_hash

LASTS = 2 * 3600 * 1_000_000
"""Microseconds after its installation in which a machine may still join."""


class Joining(NamedTuple):
    """A machine and the bootstrap token that its install was given."""

    token: str
    name: str


def joining(front: Front, token: str, secret: str, source: IPAddress, now: int) -> list[Joining]:
    """For ``/m/{token}/joining/{secret}``. Raises NotAdmitted: only a control plane of the cluster, at its place,
    learns the tokens of others.
    """
    asker = front.by_token(token_hash(token))
    if asker is None or asker.install is None or asker.install.machine_token_hash != token_hash(token):
        refuse(front, None, "asked who joins with a token that no machine has", source, now)
    admission = at_its_place(asker, source, front.neighbour(source))
    if not admission:
        refuse(front, asker, f"who joins: {admission.refusal}", source, now)
    if asker.state is State.QUARANTINED:
        refuse(front, asker, f"asked who joins, but is quarantined: {asker.state_reason}", source, now)
    inventory = front.snapshot.inventory
    cluster = inventory.clusters.get(asker.slot.cluster)
    expected = joining_secret(front.token_key, cluster.id) if cluster else ""
    if cluster is None or not hmac.compare_digest(expected.encode(), secret.encode()):
        refuse(front, asker, "asked who joins without the secret of its cluster's control planes", source, now)
    members = (m for m in inventory.machines.values() if m.slot.cluster == cluster.name and _may_join(m, now))
    return [
        Joining(join_token(front.token_key, member.install.id), member.name)
        for member in sorted(members, key=slot_order)
        if member.install is not None
    ]


def _may_join(machine: Machine, now: int) -> bool:
    if machine.install is None:
        return False
    if machine.install.open and machine.state in (State.ARMED, State.INSTALLING):
        return True
    return machine.state in (State.INSTALLED, State.ACTIVE) and now - machine.state_at <= LASTS
