"""One process's desk: builds the views of board and drawer from the snapshot and what storage adds."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from provisioner.domain import outlook
from provisioner.domain.bmc import Bmc
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine, State
from provisioner.web.packets_numbers import Rogue, lease_fault, rogues
from provisioner.web.pages import board, readings, timeline
from provisioner.web.pages.acts import Act, acts_for
from provisioner.web.pages.board import Readings, Row, Selection, Strip, View
from provisioner.web.pages.readings import Pace
from provisioner.web.parts import Parts


@dataclass(frozen=True, slots=True)
class Board:
    """What the machines page shows. ``cursor``: the newest event that may be in it."""

    view: View
    selection: Selection
    strip: Strip
    rows: tuple[Row, ...]
    readings: Readings
    inventory: Inventory
    now: int
    rogues: tuple[Rogue, ...] = ()
    """Other DHCP servers on our wires."""
    lease_fault: str = ""
    """Why no address of a pool is given out."""

    @property
    def order(self) -> str:
        return order_of(row.id for row in self.rows)


@dataclass(frozen=True, slots=True)
class Drawer:
    """One machine's sheet."""

    machine: Machine
    row: Row
    expected: outlook.Expected
    entries: tuple[timeline.Entry, ...]
    acts: tuple[Act, ...]
    bmc: Bmc | None
    cursor: int
    available: bool

    @property
    def invites(self) -> bool:
        """Is the first button what somebody most likely came for? Not while a machine works or serves."""
        waits = (State.READY, State.FAILED, State.QUARANTINED, State.RETIRED)
        return self.machine.state in waits or not self.machine.approved

    @property
    def acts_key(self) -> str:
        """The buttons shown, in a few letters."""
        return "-".join(act.do for act in self.acts)


@dataclass(slots=True)
class Desk:
    """Keeps nothing but the fleet's pace."""

    parts: Parts
    pace: Pace = field(default_factory=Pace)

    def board(self, view: View, known: Readings | None = None) -> Board:
        """Blocking: two queries for at most a page of machines. ``known`` stands in while the database is away."""
        now = self.parts.clock()
        inventory = self.parts.snapshot.inventory
        selection = board.select(inventory, view, now)
        read = readings.read(self.parts.store, self.pace, inventory, selection.machines, now)
        if known and not read.available:
            read = replace(known, available=False)
        strip = board.strip(inventory, view, read.usual, now)
        shown = replace(view, page=min(view.page, selection.pages))
        numbers = self.parts.packets_metrics
        rows = board.rows(selection.machines, read, now)
        return Board(shown, selection, strip, rows, read, inventory, now, rogues(numbers), lease_fault(numbers))

    def drawer(self, machine: Machine) -> Drawer:
        """Blocking: a few queries for one machine."""
        now = self.parts.clock()
        inventory = self.parts.snapshot.inventory
        read = readings.read(self.parts.store, self.pace, inventory, [machine], now)
        told = readings.story(self.parts.store, inventory, machine)
        subnet = inventory.subnet_of(machine.ip) if machine.ip else None
        ours = next(
            (str(address) for _, address in self.parts.wires if subnet and address in subnet.prefix),
            "the appliance",
        )
        around = outlook.Surroundings(subnet, told.stranger, ours)
        return Drawer(
            machine=machine,
            row=board.rows([machine], read, now)[0],
            expected=outlook.expected(machine, around, now),
            entries=timeline.entries(told.events),
            acts=acts_for(machine),
            bmc=told.bmc,
            cursor=told.events[0].id if told.events else 0,
            available=read.available and told.available,
        )


def order_of(ids: Iterable[UUID]) -> str:
    """Which machines are shown, and in which order, in a few letters."""
    digest = hashlib.blake2b(digest_size=6)
    for machine_id in ids:
        digest.update(machine_id.bytes)
    return digest.hexdigest()
