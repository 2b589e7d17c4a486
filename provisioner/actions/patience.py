"""What looks like a machine's silence and is not: the clock was set, or nobody was there to hear it."""

from collections.abc import Iterable
from uuid import UUID

from provisioner.domain import lifecycle
from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import Machine
from provisioner.domain.ports import Store
from provisioner.domain.spoken import span


def clock_was_set(store: Store, *, by: int, now: int) -> list[Machine]:
    """Open installs keep the time that they had left. ``by``: microseconds, negative for back; ``now``: since.

    Raises StoreUnavailable; nothing was changed then.
    """
    changed = []
    with store.transaction("watchdog") as tx:
        for machine in tx.machines.list():
            after = lifecycle.clock_set(machine, by, now)
            if after is not machine:
                tx.machines.put_progress(after)
                changed.append(after)
        way = "forward" if by > 0 else "back"
        why = (
            f"the clock was set {way} by {span(abs(by))}; {len(changed)} open installs keep the time they had left"
        )
        tx.events.add(Event(Kind.SERVICE, why, now, actor=tx.actor))
    return changed


def heard_nobody(store: Store, ids: Iterable[UUID], *, now: int) -> list[Machine]:
    """The appliance was away for so long that these would count as silent: from now on they are listened to.

    Raises StoreUnavailable.
    """
    heard = []
    with store.transaction("watchdog") as tx:
        for machine in (tx.machines.find(str(machine_id)) for machine_id in ids):
            if machine is None or not lifecycle.stalled(machine, now):
                continue
            after = lifecycle.listened_to(machine, now)
            tx.machines.put_progress(after)
            why = (
                f"nothing was heard of it for {span(lifecycle.silence(machine, now))}, in which the appliance was "
                f"away; it has {span(lifecycle.STALLED_AFTER)} to show a sign of life"
            )
            tx.events.add(Event(Kind.MACHINE_STATE, why, now, machine.id, machine.boot_mac, actor=tx.actor))
            heard.append(after)
    return heard
