"""A newcomer looked at from memory, once: by the role ``discover``, with the address that it was lent."""

from provisioner.actions import live
from provisioner.actions.front import Front
from provisioner.domain.errors import Refused
from provisioner.domain.events import Kind
from provisioner.domain.machine import IPAddress, Machine

ROLE = "discover"
_SEARCHED = 1000
"""Events of a newcomer among which its log would be."""


def begun(front: Front, machine: Machine, source: IPAddress, server: str, now: int) -> tuple[bytes | None, str]:
    """The boot script, or None and why there is none, to go on with in a sentence. Raises StoreUnavailable."""
    with front.store.reading() as tx:
        if any(event.kind is Kind.REPORT_LOG for event in tx.events.list(machine_id=machine.id, limit=_SEARCHED)):
            return None, f"; `provisioner machine log {machine.name}` has what was found in it"
    try:
        script = front.compiler.discovery()
    except Refused:
        script = None
    else:
        return script, "" if script else f", and no role `{ROLE}` is there to look closer"
    try:
        return live.script_of(front, live.as_seen(machine, source), ROLE, server, now), ""
    except Refused as refusal:
        return None, f", but role `{ROLE}` cannot be booted: {refusal}"
