"""An appliance for HTTP tests: a real SQLite store, a snapshot that may trail, a compiler of three lines."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import uuid4

from argon2 import PasswordHasher
from starlette.testclient import TestClient

from provisioner.actions import arm, enrol, subnets
from provisioner.boot.blast import RolePlanner
from provisioner.boot.compile import RoleCompiler
from provisioner.boot.effective import EffectiveRoles
from provisioner.boot.roles import RoleFolder
from provisioner.boot.simulate import simulate
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.events import Event, Sighting
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine
from provisioner.domain.menu import Offer
from provisioner.domain.ports import Transaction
from provisioner.domain.records import User
from provisioner.domain.tokens import install_token, machine_token
from provisioner.images.fetch import Fetcher
from provisioner.images.library import Library
from provisioner.images.store import ImageStore
from provisioner.storage.database import open_engine
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from provisioner.web.machines import create_machines_app
from provisioner.web.parts import Parts
from tests.boot.rack import SHIPPED
from tests.boot.rack import images as rack_images
from tests.storage import migrated

SECOND = 1_000_000
HOUR = 3600 * SECOND
START = 1_700_000_000 * SECOND
SERVER = "10.12.0.1"
PASSWORD = "correct horse battery"
MAC, IP = "52:54:00:12:00:11", "10.12.1.17"
OTHER_MAC, OTHER_IP = "52:54:00:12:00:12", "10.12.1.18"


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@dataclass
class SwitchableStore:
    """The real store, until its database is taken away."""

    real: SqlStore
    away: bool = False

    @contextmanager
    def transaction(self, actor: str) -> Iterator[Transaction]:
        self._check()
        with self.real.transaction(actor) as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        self._check()
        with self.real.reading() as tx:
            yield tx

    def inventory(self) -> Inventory:
        self._check()
        return self.real.inventory()

    def around(self, machine: Machine) -> Inventory:
        self._check()
        return self.real.around(machine)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the database cannot be reached")


@dataclass
class Snapshot:
    """Fresh on every look, or standing still as a feed that trails."""

    store: SqlStore
    held: Inventory | None = None

    @property
    def inventory(self) -> Inventory:
        return self.held or self.store.inventory()

    def hold(self) -> None:
        self.held = self.store.inventory()

    def follow(self) -> None:
        self.held = None


@dataclass
class Seen:
    """Observations and journal entries, as lists."""

    events: list[Event] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    full: bool = False

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def sight(self, sighting: Sighting) -> None:
        raise AssertionError("HTTP sights nobody")

    @property
    def waiting(self) -> bool:
        return bool(self.entries)

    def append(self, entry: dict[str, object]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.entries.append(entry)


@dataclass(frozen=True)
class Compiled:
    role: str
    files: dict[str, bytes]
    revision: str = "r1"
    role_files: dict[str, bytes] = field(default_factory=dict)
    on_failure: str = "disk"
    max_attempts: int = 3
    wipe: bool = False
    warnings: tuple[str, ...] = ()


ANSWERS = {"debian": "preseed.cfg", "talos": "talos.yaml"}
"""Roles of other publishers' installers, and the file that each begins with."""


class Compiler:
    looks: bytes | None = b"#!ipxe\nkernel http://@@SERVER@@:8081/look\nboot\n"
    """What machines that came by themselves boot; None: nothing."""

    asks_back: bool = False
    """Has that role a config of its own, so that it needs a token?"""

    def discovery(self) -> bytes | None:
        if self.asks_back:
            raise Refused("role discover has kernel arguments with a template", "boot it for one machine")
        return self.looks

    def arms_itself(self, role: str) -> bool:
        return role == "eager"

    def offer(self, role: str) -> Offer:
        live = role in ("rescue", "memtest")
        return Offer(role, f"What {role} is", live, "its folder is gone" if role == "gone" else "")

    def live(self, role: str, machine: Machine, inventory: Inventory) -> dict[str, bytes]:
        if role not in ("rescue", "memtest", "discover") or machine.ip is None:
            raise Refused(f"role {role} installs", "arm it")
        url = b"http://@@SERVER@@/b/@@INSTALL_TOKEN@@/rescue.yml"
        script = b"#!ipxe\nkernel live-" + role.encode() + b" " + url + b"\n"
        return {"boot.ipxe": script, "rescue.yml": b"for a look\n"}

    def compile(self, machine: Machine, inventory: Inventory) -> Compiled:
        if machine.ip is None:
            raise Refused(f"machine {machine.name} has no address", "give it one")
        base = b"http://@@SERVER@@/b/@@INSTALL_TOKEN@@"
        files = {
            "boot.ipxe": b"#!ipxe\nkernel http://@@SERVER@@:8081/k cloud-config-url=" + base + b"/pxe.yml\nboot\n",
            "pxe.yml": b"#cloud-config\n# " + base + b"/install.sh\n",
            "install.sh": b"#!/bin/bash\ncurl " + base + b"/progress\n",
            "config.yml": b"#cloud-config\n# secret of " + machine.name.encode() + b" @@MACHINE_TOKEN@@\n",
            "network": b"[Match]\n",
            "peers/worker": b"10.12.1.18\n",
        }
        if answers := ANSWERS.get(machine.slot.role):
            files = {"boot.ipxe": files["boot.ipxe"], answers: b"# " + base + b"/complete\n"}
        return Compiled(machine.slot.role, files)


@dataclass
class Appliance:
    parts: Parts
    store: SwitchableStore
    snapshot: Snapshot
    seen: Seen
    clock: Clock
    neighbours: dict[str, str]
    app: Any

    def client(self, ip: str = IP) -> TestClient:
        """A machine at this address, asking the appliance at SERVER."""
        return TestClient(self.app, base_url=f"http://{SERVER}", client=(ip, 40000))

    def add(self, name: str, mac: str, ip: str, role: str = "simple", **fields: Any) -> Machine:
        fields |= {"name": name, "mac": mac, "ip": ip, "role": role}
        return enrol.add_machine(self.store, fields, actor="test", now=self.clock())

    def arm(self, name: str, hours: float = 24) -> Machine:
        compiler, key = self.parts.compiler, self.parts.token_key
        return arm.arm(self.store, compiler, key, name, actor="test", now=self.clock(), hours=hours)

    def machine(self, name: str) -> Machine:
        with self.store.real.reading() as tx:
            return tx.machines.get(name)

    def token(self, name: str) -> str:
        install = self.machine(name).install
        assert install
        return install_token(self.parts.token_key, install.id)

    def machine_token(self, name: str) -> str:
        install = self.machine(name).install
        assert install
        return machine_token(self.parts.token_key, install.id)

    def events(self, name: str) -> list[Event]:
        """Stored ones, oldest first."""
        with self.store.real.reading() as tx:
            return list(tx.events.list(machine_id=tx.machines.get(name).id, after=-1, limit=1000))

    def user(self, name: str = "ada") -> None:
        """A user with PASSWORD; its hash is a cheap one, so that tests don't wait for argon2."""
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        with self.store.transaction("test") as tx:
            tx.users.put(User(uuid4(), name, cheap, self.clock()))

    def refusals(self) -> list[Event]:
        return [event for event in self.seen.events if event.kind == "token.refused"]


def make_appliance(tmp_path: Path, create_app: Callable[[Parts], Any] = create_machines_app) -> Iterator[Appliance]:
    engine = open_engine(f"sqlite:///{migrated.copy_to(tmp_path / 'p.db')}")
    keyring = Keyring.open(tmp_path / "keys")
    clock, seen = Clock(), Seen()
    real = SqlStore(engine, keyring, clock)
    store, snapshot = SwitchableStore(real), Snapshot(real)
    neighbours: dict[str, str] = {}
    loaders = tmp_path / "loaders"
    loaders.mkdir()
    (loaders / "snponly.efi").write_bytes(b"MZ" + bytes(5000))
    (tmp_path / "secret.txt").write_text("outside")
    (loaders / "link.efi").symlink_to(tmp_path / "secret.txt")

    images = ImageStore(tmp_path / "images", clock)

    def neighbour(ip: object) -> Mac | None:
        mac = neighbours.get(str(ip))
        return Mac.parse(mac) if mac else None

    for name in ("_shared", "simple", "worker"):
        shutil.copytree(SHIPPED / name, tmp_path / "roles" / name)
    folder = EffectiveRoles(RoleFolder(tmp_path / "roles"), store)
    planned = RoleCompiler(folder, rack_images)
    parts = Parts(
        store=store,
        snapshot=snapshot,
        observer=seen,
        compiler=Compiler(),
        journal=seen,
        token_key=keyring.token_key,
        clock=clock,
        neighbour=neighbour,
        loaders=loaders,
        images=Library(images, Fetcher(images, {})),
        planner=RolePlanner(folder, planned),
        power_on=lambda inventory, node, mac, rom: {
            **simulate(Compiler(), inventory, node, clock()),
            **{
                "mac": str(mac or (node and node.boot_mac)),
                "arch": rom or "bios",
                "dhcp": [],
                "no_dhcp": "no wire",
            },
            "loads": [],
        },
        role_images=lambda: [("simple", "flatcar", "")],
        roles=lambda: frozenset({"simple", "worker"}),
        wires=(("lo", IPv4Address("127.0.0.1")),),
    )
    subnets.put_subnet(store, "10.12.0.0/16", {"gateway": "10.12.0.1"}, actor="test", now=clock())
    yield Appliance(parts, store, snapshot, seen, clock, neighbours, create_app(parts))
    planned.close()
    engine.dispose()
