"""The store: transactions over one database, and the snapshot of the inventory."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select

from provisioner.domain.cluster import Cluster
from provisioner.domain.events import Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import IPAddress, Machine
from provisioner.domain.place import Place
from provisioner.domain.ports import (
    BmcRepository,
    Contradictions,
    Credentials,
    Events,
    Jobs,
    LoginTries,
    MachineRepository,
    Repository,
    Slots,
    Tokens,
)
from provisioner.domain.records import RoleActivation, RoleRevision, User
from provisioner.domain.subnet import Subnet
from provisioner.storage import tables
from provisioner.storage.accounts import TokenRows, UserRows
from provisioner.storage.bmcs import BmcRows, CredentialRows
from provisioner.storage.clusters import ClusterRows, load_clusters
from provisioner.storage.contradictions import ContradictionRows
from provisioner.storage.database import reading, writing
from provisioner.storage.jobs import JobRows
from provisioner.storage.logins import LoginTryRows
from provisioner.storage.machine_rows import load_machines
from provisioner.storage.machines import MachineRows
from provisioner.storage.secrets import Keyring
from provisioner.storage.session import Session
from provisioner.storage.slots import SlotRows, load_places
from provisioner.storage.subnets import SubnetRows, load_subnets
from provisioner.storage.timeline import EventRows, put_sightings, read_sightings


def utc_microseconds() -> int:
    return time.time_ns() // 1000


class SqlTransaction:
    """Implements ``ports.Transaction``. ``seq``: once committed, the change that a feed must reach to show it."""

    machines: MachineRepository
    slots: Slots
    clusters: Repository[Cluster]
    subnets: Repository[Subnet]
    bmcs: BmcRepository
    credentials: Credentials
    login_tries: LoginTries
    contradictions: Contradictions
    jobs: Jobs
    users: Repository[User]
    tokens: Tokens
    events: Events

    def __init__(self, session: Session, keyring: Keyring, ours: Collection[IPAddress]) -> None:
        self._session = session
        self.seq = 0
        self.ours = ours
        self.machines = MachineRows(session)
        self.slots = SlotRows(session)
        self.clusters = ClusterRows(session)
        self.subnets = SubnetRows(session)
        self.bmcs = BmcRows(session)
        self.credentials = CredentialRows(session, keyring)
        self.login_tries = LoginTryRows(session)
        self.contradictions = ContradictionRows(session)
        self.jobs = JobRows(session)
        self.users = UserRows(session)
        self.tokens = TokenRows(session)
        self.events = EventRows(session)

    @property
    def actor(self) -> str:
        return self._session.actor

    @actor.setter
    def actor(self, actor: str) -> None:
        self._session.actor = actor

    def inventory(self) -> Inventory:
        return _inventory(self._session.connection, "none")

    def put_role_revision(self, revision: RoleRevision) -> None:
        """A revision is named by its content, so one that is there already is the same."""
        if self.role_revision(revision.role, revision.revision) is not None:
            return
        self._session.touch()
        values = {name: getattr(revision, name) for name in ("role", "revision", "files", "created_at")}
        self._session.connection.execute(insert(tables.role_revisions).values(values))

    def role_revision(self, role: str, revision: str) -> RoleRevision | None:
        t = tables.role_revisions
        query = select(t).where(t.c.role == role, t.c.revision == revision)
        row = self._session.connection.execute(query).one_or_none()
        return RoleRevision(row.role, row.revision, row.files, row.created_at) if row else None

    def role_revisions(self, role: str) -> Sequence[tuple[str, int]]:
        t = tables.role_revisions
        query = select(t.c.revision, t.c.created_at).where(t.c.role == role).order_by(t.c.created_at, t.c.revision)
        return [(row.revision, row.created_at) for row in self._session.connection.execute(query)]

    def role_activation(self, role: str) -> RoleActivation | None:
        t = tables.role_activations
        row = self._session.connection.execute(select(t).where(t.c.role == role)).one_or_none()
        return RoleActivation(row.role, row.revision, row.at, row.actor) if row else None

    def role_activations(self) -> Sequence[RoleActivation]:
        rows = self._session.connection.execute(select(tables.role_activations))
        return [RoleActivation(row.role, row.revision, row.at, row.actor) for row in rows]

    def put_role_activation(self, activation: RoleActivation) -> None:
        self.remove_role_activation(activation.role)
        values = {name: getattr(activation, name) for name in ("role", "revision", "at", "actor")}
        self._session.connection.execute(insert(tables.role_activations).values(values))

    def remove_role_activation(self, role: str) -> None:
        self._session.touch()
        t = tables.role_activations
        self._session.connection.execute(delete(t).where(t.c.role == role))

    def see(self, sightings: Iterable[Sighting]) -> None:
        put_sightings(self._session, sightings)

    def sightings(self, limit: int = 100) -> Sequence[Sighting]:
        return read_sightings(self._session, limit)


class SqlStore:
    """Implements ``ports.Store`` on an engine from ``database.open_engine``. Threads may share it.

    Writing transactions are serialised, over all processes; a transaction that waits longer than
    ``database.BUSY_SECONDS`` for its turn raises StoreUnavailable. Use ``reading`` for what only looks.
    """

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        clock: Callable[[], int] = utc_microseconds,
        ours: Collection[IPAddress] = (),
    ) -> None:
        """``ours``: see ``ports.Transaction``."""
        self.engine = engine
        self._keyring = keyring
        self._clock = clock
        self._ours = ours

    @contextmanager
    def transaction(self, actor: str) -> Iterator[SqlTransaction]:
        with writing(self.engine) as connection:
            session = Session(connection, actor, self._clock())
            transaction = SqlTransaction(session, self._keyring, self._ours)
            yield transaction
            transaction.seq = session.close()

    @contextmanager
    def reading(self) -> Iterator[SqlTransaction]:
        with reading(self.engine) as connection:
            session = Session(connection, "", self._clock(), writable=False)
            yield SqlTransaction(session, self._keyring, self._ours)

    def inventory(self, *, files: bool | str = True) -> Inventory:
        """A snapshot in one view. Compiled bytes only of installs that a boot may still ask for: all
        parts, none, or the one that ``files`` names."""
        with reading(self.engine) as connection:
            return _inventory(connection, _wanted(files))

    def around(self, machine: Machine) -> Inventory:
        with reading(self.engine) as connection:
            near = {machine.id}
            if machine.slot.cluster:
                m, s = tables.machines, tables.slots
                members = select(m.c.id).join(s).where(s.c.cluster == machine.slot.cluster)
                near.update(connection.execute(members).scalars())
            return Inventory.build(
                load_machines(connection, near, files="none"),
                load_subnets(connection),
                _last_seq(connection),
                clusters=load_clusters(connection),
            )

    def caught_up(self, known: Inventory, *, files: bool | str = True) -> Inventory:
        """``known`` with what was changed since; ``known`` itself when nothing was."""
        t = tables.changes
        with reading(self.engine) as connection:
            changes = connection.execute(select(t).where(t.c.seq > known.seq).order_by(t.c.seq)).all()
            if not changes:
                # A database restored from a backup counts from an earlier change.
                behind = _last_seq(connection) < known.seq
            else:
                behind = connection.execute(select(func.min(t.c.seq))).scalar_one() > known.seq + 1
            if not behind:
                return _with_changes(connection, known, changes, _wanted(files))
        return self.inventory(files=files)


def _wanted(files: bool | str) -> str:
    return files if isinstance(files, str) else "live" if files else "none"


def _inventory(connection: Connection, files: str) -> Inventory:
    return Inventory.build(
        load_machines(connection, files=files),
        load_subnets(connection),
        _last_seq(connection),
        places=load_places(connection, empty=True),
        clusters=load_clusters(connection),
    )


def _last_seq(connection: Connection) -> int:
    return connection.execute(select(func.max(tables.changes.c.seq))).scalar_one() or 0


def _with_changes(connection: Connection, known: Inventory, changes: Sequence[Row[Any]], files: str) -> Inventory:
    if not changes:
        return known
    changed: dict[UUID, Machine | None] = {row.ref: None for row in changes if row.kind == "machine"}
    changed.update((machine.id, machine) for machine in load_machines(connection, changed, files=files))
    inventory = known.with_machines(changed, changes[-1].seq)
    places: dict[UUID, Place | None] = {row.ref: None for row in changes if row.kind == "slot"}
    if places:
        places.update((place.slot.id, place) for place in load_places(connection, empty=True, ids=places))
        inventory = inventory.with_places(places, inventory.seq)
    if any(row.kind == "subnet" for row in changes):
        inventory = inventory.with_subnets(load_subnets(connection), inventory.seq)
    if any(row.kind == "cluster" for row in changes):
        inventory = inventory.with_clusters(load_clusters(connection), inventory.seq)
    return inventory
