"""What the page reads from storage beside the snapshot: in bulk, and with the database allowed to be away."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.events import Event, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine, Phase, State
from provisioner.domain.ports import Store
from provisioner.domain.spoken import MINUTE
from provisioner.web.pages.board import Readings
from provisioner.web.pages.train import medians

_TIMELINE = 200
_SAMPLE = 200
_PACE_FRESH = MINUTE


@dataclass(slots=True)
class Pace:
    """The fleet's median time in each phase, from its latest installs; read again once a minute."""

    usual: Mapping[Phase, int] = field(default_factory=dict)
    read_at: int = 0

    def of(self, store: Store, inventory: Inventory, now: int) -> Mapping[Phase, int]:
        if self.read_at and abs(now - self.read_at) < _PACE_FRESH:
            return self.usual
        done = sorted(
            (m for m in inventory.machines.values() if m.install and m.state in (State.ACTIVE, State.INSTALLED)),
            key=lambda machine: -machine.state_at,
        )[:_SAMPLE]
        with store.reading() as tx:
            self.usual = medians(tx.machines.phases_of([m.install.id for m in done if m.install]).values())
        self.read_at = now
        return self.usual


def read(store: Store, pace: Pace, inventory: Inventory, machines: Iterable[Machine], now: int) -> Readings:
    """Phases, last events and BMCs of these machines. Never raises StoreUnavailable: rows come without them."""
    shown = list(machines)
    try:
        usual = pace.of(store, inventory, now)
        with store.reading() as tx:
            newest = tx.events.list(limit=1)
            return Readings(
                phases=tx.machines.phases_of([m.install.id for m in shown if m.install]),
                events=tx.events.latest([m.id for m in shown]),
                bmcs=tx.bmcs.addresses([m.bmc_id for m in shown if m.bmc_id]),
                usual=usual,
                cursor=newest[0].id if newest else 0,
            )
    except StoreUnavailable:
        return Readings(usual=pace.usual, available=False)


@dataclass(frozen=True, slots=True)
class Story:
    """One machine's events, newest first, and what may explain a silence."""

    events: Sequence[Event] = ()
    bmc: Bmc | None = None
    stranger: Sighting | None = None
    available: bool = True


def story(store: Store, inventory: Inventory, machine: Machine) -> Story:
    """For the drawer. Never raises StoreUnavailable."""
    try:
        with store.reading() as tx:
            told = Story(
                events=tx.events.list(machine_id=machine.id, limit=_TIMELINE),
                bmc=tx.bmcs.find(str(machine.bmc_id)) if machine.bmc_id else None,
            )
            if machine.state is State.ARMED:
                unlisted = (s for s in tx.sightings() if s.source == "dhcp" and inventory.by_mac(s.mac) is None)
                told = replace(told, stranger=max(unlisted, key=lambda sighting: sighting.at, default=None))
            return told
    except StoreUnavailable:
        return Story(available=False)


def touched(store: Store, after: int, limit: int) -> tuple[set[UUID], bool]:
    """Machines with events after this id, and whether there may be more than ``limit``.

    Raises StoreUnavailable.
    """
    with store.reading() as tx:
        events = tx.events.list(after=after, limit=limit)
    return {event.machine_id for event in events if event.machine_id}, len(events) >= limit


def newest_of(store: Store, machine: Machine) -> int:
    """Id of this machine's newest event; 0 before the first. Raises StoreUnavailable."""
    with store.reading() as tx:
        events = tx.events.list(machine_id=machine.id, limit=1)
    return events[0].id if events else 0
