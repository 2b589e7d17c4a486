"""Puts the parts together: adapters from storage, boot, images and bmc, handed to actions and apps."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from provisioner.actions import bmc_jobs
from provisioner.actions.images import RoleImage
from provisioner.bmc import terminal
from provisioner.bmc.pool import WorkerPool
from provisioner.boot.blast import RolePlanner
from provisioner.boot.compile import RoleCompiler
from provisioner.boot.effective import EffectiveRoles
from provisioner.boot.roles import RoleFolder
from provisioner.domain.bmc import Bmc, Login
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.machine import IPAddress
from provisioner.domain.records import Job
from provisioner.images import bundle
from provisioner.images.arrivals import Arrivals
from provisioner.images.containers import ContainerStore
from provisioner.images.fetch import Fetcher, Source
from provisioner.images.library import Library
from provisioner.images.payload import PayloadStore
from provisioner.images.shipping import Wanted, Warehouse
from provisioner.images.store import ImageStore
from provisioner.settings import Settings
from provisioner.storage import backup
from provisioner.storage.database import migrate, open_engine
from provisioner.storage.feed import ChangeFeed
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from provisioner.web.neighbours import address_on

_ENDED = ("done", "failed", "partly")
_PATIENCE = 600.0
"""Seconds that a command waits for a job that another process carries out."""


def clock() -> int:
    """UTC microseconds: the one clock that decisions are given."""
    return time.time_ns() // 1000


@dataclass
class House:
    """The appliance's parts in one process. Use as a context manager."""

    settings: Settings
    engine: Engine
    keyring: Keyring
    store: SqlStore
    _pools: list[WorkerPool] = field(default_factory=list)

    @classmethod
    def open(cls, settings: Settings, *, database_may_be_away: bool = False) -> Self:
        """Open the data directory; a fresh one is made and migrated. Raises Refused, StoreUnavailable.

        ``database_may_be_away``: a service starts without it and serves from the snapshot on disk.
        """
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise Refused(
                f"data_dir {str(settings.data_dir)!r} cannot be made ({error.strerror})",
                "run as root, or set data_dir in --config or PROVISIONER_DATA_DIR",
            ) from error
        keyring = _keyring(settings)
        engine = open_engine(settings.url)
        try:
            migrate(engine, lambda revision: _back_up(engine, settings, revision))
        except StoreUnavailable:
            if not database_may_be_away:
                raise
        return cls(settings, engine, keyring, SqlStore(engine, keyring, ours=_ours(settings)))

    def snapshot_file(self, service: str) -> Path:
        """Where a service finds the inventory when the database is away at its start."""
        return self.settings.data_dir / f"snapshot-{service}.json"

    def follow(self, stack: ExitStack, service: str, *, files: bool | str, keep: bool = True) -> ChangeFeed:
        """The service's snapshot of the inventory, followed until ``stack`` ends; arguments as ChangeFeed's."""
        feed = ChangeFeed(self.store, snapshot_file=self.snapshot_file(service), keep=keep, files=files)
        feed.start()
        stack.callback(feed.stop)
        return feed

    @cached_property
    def roles(self) -> RoleFolder:
        return RoleFolder(self.settings.cloud_configs)

    @cached_property
    def images(self) -> ImageStore:
        return ImageStore(self.settings.data_dir / "images")

    @cached_property
    def payload(self) -> PayloadStore:
        return PayloadStore(self.settings.data_dir / "payload")

    def payload_users(self, path: str) -> list[str]:
        """Roles that install this file."""
        found = []
        for name in self.roles.names():
            with suppress(Refused):
                if any(file.path == path for file in self.roles.get(name).settings.payload):
                    found.append(name)
        return found

    @cached_property
    def containers(self) -> ContainerStore:
        return ContainerStore(self.settings.data_dir / "containers")

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.images, self.payload, self.containers, self.settings.cloud_configs)

    @cached_property
    def bundle_key(self) -> Ed25519PrivateKey:
        return bundle.signing_key(self.keyring.token_key)

    @property
    def trusted_bundles(self) -> Sequence[str]:
        """Fingerprints of the keys whose bundles are imported without asking."""
        return (bundle.fingerprint(self.bundle_key.public_key()), *self.settings.images.trusted)

    def role_needs(self, names: Sequence[str]) -> Wanted:
        """Roles with the image and the payload that they install. Raises NotFound, Refused."""
        settings = [self.roles.get(name).settings for name in names]
        there = self.payload.manifest()
        return Wanted(
            images=[(each.image, each.image_version) for each in settings],
            payload=[f.path for each in settings for f in each.payload if f.path in there or not f.optional],
            roles=names,
        )

    @cached_property
    def library(self) -> Library:
        sources = self.settings.images.sources
        named = (("flatcar", sources.flatcar), ("fedora-coreos", sources.fedora_coreos))
        return Library(
            self.images,
            Fetcher(self.images, {name: Source(it.url, it.keyring, it.fingerprints) for name, it in named}),
            Arrivals(self.settings.data_dir / "incoming", self.warehouse, self.trusted_bundles),
        )

    def role_images(self) -> Sequence[RoleImage]:
        """Which image each role is compiled with; a role that cannot be read uses none."""
        found = []
        for name in self.roles.names():
            with suppress(Refused, StoreUnavailable):
                settings = self.effective_roles.get(name).settings
                found.append((name, settings.image, settings.image_version))
        return found

    @cached_property
    def effective_roles(self) -> EffectiveRoles:
        return EffectiveRoles(self.roles, self.store)

    @cached_property
    def planner(self) -> RolePlanner:
        return RolePlanner(self.effective_roles, self.compiler)

    @cached_property
    def compiler(self) -> RoleCompiler:
        signed = self.images.signed_by_debian
        return RoleCompiler(
            self.effective_roles,
            self.images.get,
            payload=self.payload.manifest,
            signed=signed,
            key=self.keyring.token_key,
        )

    def role_names(self) -> frozenset[str]:
        return frozenset(self.roles.names())

    def bmc_pool(self) -> WorkerPool:
        pool = WorkerPool()
        self._pools.append(pool)
        return pool

    def console(self, bmc: Bmc, login: Login, port: int | None = None) -> int:
        """The BMC's serial console on this process's terminal; the exit code. ``port``: see ``terminal``."""
        return terminal.attached(bmc, login, port)

    def finish(self, job: Job, progress: Callable[[Job], None] = lambda _: None) -> Job:
        """Carry a job out here that nobody has, or wait for the service that took it first.

        Interrupted, it gives the job back, for the service or for `provisioner job resume`.
        """
        now = clock()
        with self.store.transaction(job.actor) as tx:
            current = tx.jobs.get(str(job.id))
            mine = current.state == "queued" or (current.state == "running" and current.lease_until < now)
            if mine:
                current = tx.jobs.put(replace(current, state="running", lease_until=now + bmc_jobs.LEASE))
        if mine:
            try:
                return bmc_jobs.run(self.store, self.bmc_pool(), current, clock, progress=progress)
            except KeyboardInterrupt:
                self._give_back(current)
                raise
        until = time.monotonic() + _PATIENCE
        while current.state not in _ENDED:
            if time.monotonic() > until:
                raise Refused(f"job {job.id} is still {current.state}", "the bmc service goes on with it")
            time.sleep(0.1)
            with self.store.reading() as tx:
                current = tx.jobs.get(str(job.id))
            progress(current)
        return current

    def _give_back(self, job: Job) -> None:
        for pool in self._pools:
            pool.close()
        with self.store.transaction(job.actor) as tx:
            held = tx.jobs.get(str(job.id))
            if held.state == "running":
                tx.jobs.put(replace(held, state="queued", lease_until=0))

    def close(self) -> None:
        for pool in self._pools:
            pool.close()
        if "compiler" in self.__dict__:
            self.compiler.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ours(settings: Settings) -> frozenset[IPAddress]:
    """The addresses at which this appliance serves, stated or as the interfaces have them now."""
    found = (wire.address or address_on(wire.name) for wire in settings.wires)
    return frozenset(address for address in found if address is not None)


def _keyring(settings: Settings) -> Keyring:
    try:
        return Keyring.open(settings.keys)
    except OSError as error:
        raise Refused(
            f"data_dir {str(settings.data_dir)!r} cannot be used by this user ({error.strerror})",
            "run as its owner or as root: `sudo provisioner …`, or set data_dir in --config",
        ) from error


def _back_up(engine: Engine, settings: Settings, revision: str) -> None:
    """Before a migration: what it was, in ``data_dir/backups``. No backup, no migration."""
    now = clock()
    file = settings.data_dir / "backups" / f"before-upgrade-from-{revision}-{now}.tar"
    try:
        backup.make_file(engine, settings.data_dir, file, now=now)
    except Refused as refusal:
        raise Refused(
            f"the database is to be upgraded from revision {revision} and cannot be backed up: {refusal.problem}",
            f"{refusal.remedy}; `provisioner db upgrade --without-backup` goes without one",
        ) from refusal
