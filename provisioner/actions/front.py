"""Where machines are served: what this process knows of each, and how a happening is kept.

The snapshot trails the database by up to 200 ms, and by hours when the database is away. A machine must meet
its own last step at once, so what was just written (or journalled) here goes before the snapshot.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from provisioner.actions.happening import Happening, advance, carry_out
from provisioner.domain.errors import StoreUnavailable
from provisioner.domain.events import Event
from provisioner.domain.mac import Mac
from provisioner.domain.machine import IPAddress, Machine
from provisioner.domain.ports import Compiler, Journal, Observer, SnapshotSource, Store
from provisioner.domain.tokens import ClusterKeys, no_cluster_keys

REMEMBERED = 20_000
"""Machines kept ahead of the snapshot: more than one appliance serves."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    machine: Machine
    base: Machine | None
    """What the snapshot showed then; another object there means that the feed caught up."""
    stored: bool


@dataclass(slots=True)
class Front:
    """One for each serving process; safe to use from several threads."""

    store: Store
    snapshot: SnapshotSource
    observer: Observer
    journal: Journal
    token_key: bytes = field(repr=False)
    neighbour: Callable[[IPAddress], Mac | None]
    compiler: Compiler
    arm_hours: float = 24
    cluster_keys: ClusterKeys = field(default=no_cluster_keys, repr=False)
    """Keys that control planes share, written into what they are served."""
    _ahead: "OrderedDict[UUID, _Ahead]" = field(default_factory=OrderedDict)
    _in_journal: set[UUID] = field(default_factory=set)
    """Machines of which the journal has kept something since it was last empty."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def by_token(self, hashed: str) -> Machine | None:
        """The machine whose latest install has this token hash."""
        return self._current(self.snapshot.inventory.by_token(hashed))

    def by_mac(self, mac: Mac) -> Machine | None:
        return self._current(self.snapshot.inventory.by_mac(mac))

    def by_ip(self, ip: IPAddress) -> Machine | None:
        return self._current(self.snapshot.inventory.by_ip(ip))

    def observe(self, event: Event) -> None:
        self.observer.observe(event)

    def keep(self, happening: Happening, check: Callable[[Machine], None] = lambda _: None) -> tuple[Machine, bool]:
        """Store what happened, or journal it while the database is away.

        ``check`` sees the machine as stored and raises what refuses. Returns the machine afterwards and whether
        the database has it. Raises IllegalTransition, NotFound, what ``check`` raises, and StoreUnavailable
        when not even the journal takes it.
        """
        base = self.snapshot.inventory.machines.get(happening.machine_id)
        if self._must_follow(happening.machine_id):
            return self._journalled(happening, base, check, None), False
        try:
            with self.store.transaction("machine") as tx:
                before = tx.machines.get(str(happening.machine_id))
                check(before)
                after = carry_out(tx, before, happening)
        except StoreUnavailable as unavailable:
            return self._journalled(happening, base, check, unavailable), False
        self._remember(_Ahead(after, base, stored=True))
        return after, True

    def _journalled(
        self,
        happening: Happening,
        base: Machine | None,
        check: Callable[[Machine], None],
        unavailable: StoreUnavailable | None,
    ) -> Machine:
        known = self._current(base)
        if known is None:
            raise unavailable or StoreUnavailable("an earlier step of this machine waits in the journal")
        check(known)
        after = advance(known, happening)
        try:
            self.journal.append(happening.entry(after))
        except OSError as error:
            raise StoreUnavailable(f"neither database nor journal can be written: {error}") from unavailable
        self._in_journal.add(happening.machine_id)
        self._remember(_Ahead(after, base, stored=False))
        return after

    def _must_follow(self, machine_id: UUID) -> bool:
        """Would a step overtake an earlier one of the same machine?

        The database was busy for a moment, the hand-out of install.sh went to the journal: for the database, the
        progress that comes next would be that of no install.
        """
        if machine_id not in self._in_journal:
            return False
        if self.journal.waiting:
            return True
        self._in_journal.discard(machine_id)
        return False

    def note(self, machine: Machine) -> None:
        """What an action of this process stored, ahead of the snapshot."""
        base = self.snapshot.inventory.machines.get(machine.id)
        self._remember(_Ahead(machine, base, stored=True))

    def _remember(self, ahead: _Ahead) -> None:
        with self._lock:
            self._ahead[ahead.machine.id] = ahead
            self._ahead.move_to_end(ahead.machine.id)
            while len(self._ahead) > REMEMBERED:
                self._ahead.popitem(last=False)

    def _current(self, shown: Machine | None) -> Machine | None:
        if shown is None:
            return None
        with self._lock:
            ahead = self._ahead.get(shown.id)
            if ahead is None:
                return shown
            if _caught_up(shown, ahead):
                del self._ahead[shown.id]
                return shown
            return ahead.machine


def _caught_up(shown: Machine, ahead: _Ahead) -> bool:
    if shown is ahead.base:
        return False
    if ahead.stored:
        return True
    ours, theirs = ahead.machine.install, shown.install
    # While the journal waits for its replay, another change of the machine must not hide what it counted.
    return (
        ours is None
        or theirs is None
        or ours.id != theirs.id
        or bool(theirs.outcome)
        or (not ours.outcome and theirs.boots >= ours.boots and theirs.attempts >= ours.attempts)
    )
