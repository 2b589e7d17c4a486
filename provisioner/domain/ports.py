"""What the use cases need from the outside, as narrow protocols. Adapters live in storage, bmc and boot."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar, runtime_checkable
from uuid import UUID

from provisioner.domain.bmc import (
    Bmc,
    BootDevice,
    Chassis,
    Condition,
    Drive,
    Identity,
    Login,
    LoginTry,
    Power,
    Sweep,
)
from provisioner.domain.cluster import Cluster
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import IPAddress, Machine
from provisioner.domain.menu import Offer
from provisioner.domain.place import Place
from provisioner.domain.reconcile import Account, Finding
from provisioner.domain.records import ApiToken, Credential, Job, PhaseRecord, RoleActivation, RoleRevision, User
from provisioner.domain.role_plan import EditPlan, RolePlan
from provisioner.domain.subnet import Subnet

T = TypeVar("T")


class Repository(Protocol[T]):
    """One kind of thing inside one transaction."""

    def find(self, ref: str) -> T | None:
        """By id or by the kind's natural name (machine: name, id, MAC, IP; subnet: prefix; bmc: address)."""
        ...

    def get(self, ref: str) -> T:
        """As ``find``; raises NotFound."""
        ...

    def list(self) -> Sequence[T]:
        """All, in a stable order that people expect."""
        ...

    def put(self, item: T, expect_version: int | None = None) -> T:
        """Insert or replace by id; returns the item as stored (version counted up when intent changed).

        Raises Conflict for a value another one holds, StaleEdit when ``expect_version`` is not the stored one.
        """
        ...

    def remove(self, item_id: UUID) -> None:
        """Raises NotFound, or Conflict while something else needs it."""
        ...


class MachineRepository(Repository[Machine], Protocol):
    """Machines with slot, interfaces, addresses and latest install; ``list`` leaves the compiled bytes out."""

    def newcomers(self) -> int:
        """How many machines came by themselves (DHCP) and are still ``new``."""
        ...

    def behind(self, bmc_id: UUID) -> Machine | None:
        """The machine that names this BMC."""
        ...

    def put_many(self, items: Sequence[Machine], known: Mapping[UUID, Machine] | None = None) -> Sequence[Machine]:
        """As ``put`` for each, written together: names and addresses may go round among them.

        ``known``: all machines as this transaction read them, which spares reading these once more.
        """
        ...

    def put_progress(self, machine: Machine) -> None:
        """Store state, phase and install counters only: the version (ETag) stays."""
        ...

    def phases(self, install_id: UUID) -> Sequence[PhaseRecord]: ...

    def phases_of(self, install_ids: Iterable[UUID]) -> Mapping[UUID, Sequence[PhaseRecord]]:
        """The phases of many installs in one query, in the order they were reached; none: no key."""
        ...

    def put_phase(self, record: PhaseRecord) -> None:
        """First call of a phase sets ``first_at``; later ones move ``last_at``, percent, message."""
        ...

    def forget_files(self, *, before: int, limit: int) -> int:
        """Delete what was compiled for up to ``limit`` installs that were armed before a moment and that a newer
        install of the same machine has replaced: nothing serves it any more. Returns how many installs."""
        ...


class BmcRepository(Repository[Bmc], Protocol):
    def add_many(self, items: Iterable[Bmc]) -> None:
        """List BMCs whose addresses are known to be free, written together."""
        ...

    def addresses(self, ids: Iterable[UUID]) -> Mapping[UUID, str]:
        """Where these are, by id; one that is gone is left out."""
        ...


class Slots(Repository[Place], Protocol):
    """Places, with or without a machine."""

    def at_port(self, switch_port: str) -> Place | None:
        """The place that is wired to this switch port."""
        ...


class Jobs(Repository[Job], Protocol):
    """Long work, leased."""

    def lease(self, kinds: Iterable[str], now: int, until: int) -> Job | None:
        """Take the oldest queued job, or a running one whose lease ran out; None if there is none."""
        ...

    def unfinished(self, kinds: Iterable[str]) -> Sequence[Job]:
        """Those that wait or are under way, the oldest first."""
        ...

    def forget(self, *, before: int, limit: int) -> int:
        """Delete up to ``limit`` ended jobs from before a moment, the oldest first. Returns how many."""
        ...


class Credentials(Repository[Credential], Protocol):
    """Logins, of one BMC each or of all BMCs in a network."""

    def for_address(self, address: IPAddress) -> Sequence[Credential]:
        """The candidates of the networks it lies in, the narrowest network first, then by position."""
        ...


class LoginTries(Protocol):
    """How logins ended, so that none is tried until an account locks."""

    def at(self, bmc_id: UUID) -> Mapping[UUID, LoginTry]:
        """By credential."""
        ...

    def put(self, login_try: LoginTry) -> None:
        """One a BMC and credential; the one before is replaced."""
        ...

    def forget(self, *, bmc_id: UUID | None = None, credential_id: UUID | None = None) -> None:
        """Those of this BMC, of this credential, or of this pair."""
        ...


class Contradictions(Protocol):
    """The vendor's list, and where it disagrees with what was found."""

    def vendor_list(self) -> Sequence[Account]: ...

    def put_vendor_list(self, rows: Sequence[Account]) -> None:
        """Instead of the one before."""
        ...

    def replace(self, found: Iterable[tuple[UUID, Finding]]) -> None:
        """All there are now, each with a machine that it concerns."""
        ...

    def of(self, machine_id: UUID) -> Sequence[Finding]: ...

    def list(self) -> Sequence[tuple[UUID, Finding]]: ...


class Tokens(Repository[ApiToken], Protocol):
    def by_hash(self, token_hash: str) -> ApiToken | None: ...

    def forget(self, *, before: int, limit: int) -> int:
        """Delete up to ``limit`` tokens and sessions that expired before a moment. Returns how many."""
        ...


class Events(Protocol):
    def add(self, *events: Event) -> None:
        """Many at once cost a tenth of what they cost one by one."""
        ...

    def list(
        self, *, machine_id: UUID | None = None, after: int = 0, before: int | None = None, limit: int = 100
    ) -> Sequence[Event]:
        """With ``after``: oldest first from there; else the newest ``limit``, newest first."""
        ...

    def forget(self, kinds: Iterable[Kind], *, before: int, limit: int) -> int:
        """Delete up to ``limit`` events of these kinds from before a moment (UTC microseconds), the oldest first.

        None of a machine with an open install. Returns how many.
        """
        ...

    def keep_newest(self, kind: Kind, machine_id: UUID, most: int) -> None:
        """Delete all but the newest ``most`` events of this kind of this machine."""
        ...

    def latest(self, machine_ids: Iterable[UUID]) -> Mapping[UUID, Event]:
        """The newest event of each of these machines, in one query; no event: no key."""
        ...


class Transaction(Protocol):
    """Everything inside is written, or nothing."""

    actor: str
    ours: Collection[IPAddress]
    """The appliance's addresses: no machine's, whatever a subnet says."""
    machines: MachineRepository
    slots: Slots
    """Places with and without a machine. What is stated of an occupied one is changed through its machine."""
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

    def inventory(self) -> Inventory:
        """All as one snapshot, without compiled bytes."""
        ...

    def put_role_revision(self, revision: RoleRevision) -> None: ...

    def role_revision(self, role: str, revision: str) -> RoleRevision | None: ...

    def role_revisions(self, role: str) -> Sequence[tuple[str, int]]:
        """The kept revisions and when each was first used (UTC microseconds), oldest first."""
        ...

    def role_activation(self, role: str) -> RoleActivation | None:
        """None: the role's folder is used as it is."""
        ...

    def role_activations(self) -> Sequence[RoleActivation]: ...

    def put_role_activation(self, activation: RoleActivation) -> None: ...

    def remove_role_activation(self, role: str) -> None: ...

    def see(self, sightings: Iterable[Sighting]) -> None: ...

    def sightings(self, limit: int = 100) -> Sequence[Sighting]: ...


class Store(Protocol):
    """The database. Raises StoreUnavailable when it cannot be reached, read or written in time."""

    def transaction(self, actor: str) -> AbstractContextManager[Transaction]: ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """A consistent view that waits for no writer; writing in it is a mistake and raises RuntimeError."""
        ...

    def inventory(self) -> Inventory:
        """A snapshot read in one transaction."""
        ...

    def around(self, machine: Machine) -> Inventory:
        """The part of the snapshot that this machine's files are made from: itself, the members of its cluster, the
        subnets and the clusters. Without compiled bytes.

        Whoever arms 300 of 10,000 machines does not read 10,000 machines 300 times.
        """
        ...


class Observer(Protocol):
    """Takes observations (packets, reads). Never blocks, never raises; coalesces and counts when it is full."""

    def observe(self, event: Event) -> None: ...

    def sight(self, sighting: Sighting) -> None: ...


class Journal(Protocol):
    """Keeps callbacks durably while the database is away. ``append`` returns once the entry is on disk."""

    @property
    def waiting(self) -> bool:
        """Is there an entry that is not in the database yet?"""
        ...

    def append(self, entry: dict[str, object]) -> None: ...


@runtime_checkable
class BmcPort(Protocol):
    """Talks to BMCs. Calls block until done, within a bounded time; raises BmcError."""

    def identify(self, bmc: Bmc, login: Login) -> Identity: ...

    def chassis(self, bmc: Bmc, login: Login) -> Chassis:
        """All blades behind a chassis manager."""
        ...

    def condition(self, bmc: Bmc, login: Login) -> Condition:
        """Health and sensors of its server."""
        ...

    def power(self, bmc: Bmc, login: Login, operation: Power) -> Power:
        """Carries the operation out, waits until it shows, returns ON or OFF as the BMC then says."""
        ...

    def set_boot_device(
        self, bmc: Bmc, login: Login, device: BootDevice, *, persistent: bool = False, uefi: bool = False
    ) -> None: ...

    def drives(self, bmc: Bmc, login: Login, image: str | None = None) -> Sequence[Drive]:
        """The drives that the BMC lends its server, after ``image`` is done.

        A URL lies in one of them then (``@@SERVER@@`` in it is the appliance as the BMC reaches it), '' empties
        all, None changes nothing.
        """
        ...

    def scan(self, addresses: Sequence[str]) -> Sweep:
        """Who answers there, without any login; takes a few seconds and 5 ms an address."""
        ...

    def close(self) -> None: ...


class Compiler(Protocol):
    """Renders and validates everything a machine will be told. Raises Refused with file, line and key."""

    def compile(self, machine: Machine, inventory: Inventory) -> "CompiledInstall": ...

    def discovery(self) -> bytes | None:
        """The boot script for machines that are only looked at; None: no role is made for that."""
        ...

    def offer(self, role: str) -> Offer:
        """The role as a boot menu shows it. Raises StoreUnavailable."""
        ...

    def live(self, role: str, machine: Machine, inventory: Inventory) -> Mapping[str, bytes]:
        """The files of an in-memory role for this machine. Raises Refused, StoreUnavailable."""
        ...

    def arms_itself(self, role: str) -> bool:
        """Does the role say ``arm: on-discovery``? A role that cannot be read does not."""
        ...


class CompiledInstall(Protocol):
    """What arming freezes."""

    @property
    def role(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def files(self) -> Mapping[str, bytes]: ...
    @property
    def role_files(self) -> Mapping[str, bytes]: ...
    @property
    def on_failure(self) -> str: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def wipe(self) -> bool: ...
    @property
    def warnings(self) -> Sequence[str]: ...


class RolePlanner(Protocol):
    """Says what another revision of a role changes."""

    def plan(self, role: str, inventory: Inventory, revision: str = "") -> RolePlan:
        """``revision`` empty: what the role's folder holds. Raises NotFound, Refused."""
        ...


class EditPlanner(Protocol):
    """Says what other parameters change."""

    def plan_edit(self, before: Inventory, after: Inventory, edited: UUID | None) -> EditPlan:
        """For every machine that is compiled from what differs. ``edited``: the machine that the edit names."""
        ...


class SnapshotSource(Protocol):
    """The current snapshot of a process; replaced behind the reader's back, never changed."""

    @property
    def inventory(self) -> Inventory: ...
