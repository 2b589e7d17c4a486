"""``doctor``: gathers what this host, its wires and the inventory show, and has it judged by ``doctor.checks``."""

import shutil
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from sqlalchemy.engine import make_url

from provisioner.boot.roles import RoleFolder
from provisioner.boot.trial import try_role
from provisioner.doctor import asked, checks, fetched, host, network
from provisioner.doctor.facts import Clock, Database, Facts, Fetch, ImageState, Port, RoleState, Wire
from provisioner.doctor.findings import Finding
from provisioner.domain.errors import NotFound, Refused, StoreUnavailable
from provisioner.domain.inventory import Inventory
from provisioner.domain.subnet import Subnet
from provisioner.images.layout import is_kernel
from provisioner.images.store import Image, ImageStore
from provisioner.settings import Settings
from provisioner.storage.database import current_revision, known_revisions, open_engine, reading, writing
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore

_BULK = ("image.bin.bz2", "rootfs", "metal")
"""Names of disk images: the live system fetches them, not the loader, and they take minutes."""


def examine(settings: Settings, *, deep: bool = True, metrics: Path | None = None) -> list[Finding]:
    """Look at everything and change nothing. ``deep``: also ask the wires and fetch what machines fetch.

    ``metrics``: where the packets service tells who answered its own probes; used when not ``deep``.
    """
    facts = gather(settings)
    findings = checks.examine(facts)
    if deep:
        serving = network.running(facts)
        fetches = _fetches(settings, facts) if serving else []
        findings += network.fetched(fetches, serving=serving)
        probed = [asked.ask(wire.name) for wire in facts.wires if wire.exists and wire.up]
        findings += network.other_dhcp(probed, facts.wires)
    elif metrics is not None:
        alone = [wire.name for wire in facts.wires if wire.dhcp == "authoritative"]
        findings += network.other_dhcp(host.rogues(metrics, alone), facts.wires)
    return findings


def gather(settings: Settings) -> Facts:
    """Raises Refused for a user who may not look into the data directory."""
    try:
        next(settings.data_dir.iterdir(), None)
    except FileNotFoundError:
        pass  # A finding: nothing was started yet.
    except OSError as error:
        raise Refused(
            f"data_dir {str(settings.data_dir)!r} cannot be looked into by this user ({error.strerror})",
            "run as its owner or as root: `sudo provisioner doctor`"
            if isinstance(error, PermissionError)
            else "set data_dir to a folder, in the settings file or PROVISIONER_DATA_DIR",
        ) from error
    wires = tuple(host.wire(each.name, each.address, each.dhcp) for each in settings.wires)
    database, inventory, newest = _database(settings)
    roles = RoleFolder(settings.cloud_configs)
    images = _images(settings)
    return Facts(
        wires=wires,
        ports=tuple(_ports(settings, wires)),
        listeners=host.listeners(),
        capabilities=host.capabilities(),
        loaders=fetched.recorded(settings.loaders),
        clock=Clock(time.time_ns() // 1000, max(newest, _written(Path(__file__))), host.synchronised()),
        disk=host.disk(settings.data_dir),
        database=database,
        images=tuple(ImageState(image.name, image.version, image.problems) for image in images.list())
        if images
        else (),
        roles=tuple(_role(roles, name, images, inventory) for name in roles.names()),
        subnets=tuple(subnet.prefix for subnet in inventory.subnets),
        neighbours_expected=_neighbours(inventory, wires),
        neighbour_limits=host.neighbour_limits(),
        routes={
            subnet.prefix: host.route_device(subnet.prefix)
            for subnet in inventory.subnets
            if subnet.prefix.version == 4 and not any(_on(subnet, wire) for wire in wires)
        },
        ruleset=host.ruleset() if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") else (),
    )


def _ports(settings: Settings, wires: Sequence[Wire]) -> list[Port]:
    needed = []
    for wire in wires:
        if wire.dhcp != "off":
            needed.append(Port("udp", 67, "", "DHCP", device=wire.name))
        own = str(wire.address or "")
        needed += [
            Port("udp", settings.tftp.port, own, "TFTP", "tftp.port"),
            _listening("machines", _listen(settings.machines.listen), own, 80),
            _listening("images", settings.images.listen, own, 8081),
        ]
    if not settings.people.listen.startswith("fd:"):
        needed.append(_listening("people", settings.people.listen, "0.0.0.0", 8080))  # noqa: S104
    return list(dict.fromkeys(needed))


def _listen(listen: str) -> str:
    """A socket that was opened for us is looked for where it is by default."""
    return "" if listen.startswith("fd:") else listen


def _listening(section: str, listen: str, address: str, number: int) -> Port:
    before, _, after = listen.rpartition(":")
    if after.isdigit():
        address, number = before.strip("[]") or address, int(after)
    name = {"people": "page", "machines": "boot scripts", "images": "images"}[section]
    return Port("tcp", number, address, name, f"{section}.listen")


def _database(settings: Settings) -> tuple[Database, Inventory, int]:
    """Its state, what is listed in it, and the newest time on record (0: none)."""
    known = tuple(known_revisions())
    inventory, newest, revision = Inventory(), 0, None
    try:
        url = make_url(settings.url)
        shown = url.render_as_string(hide_password=True)
        file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        if file is not None and not file.exists():
            return Database(shown, None, known), inventory, newest
        engine = open_engine(settings.url)
    except (ValueError, Refused) as error:
        return Database("(not readable)", None, known, str(error)), inventory, newest
    try:
        with reading(engine) as connection:
            revision = current_revision(connection)
        if revision == known[-1]:
            with writing(engine):
                pass  # The writers' lock was free, and the file could be locked for writing.
            store = SqlStore(engine, Keyring.open(settings.keys))
            inventory = store.inventory(files=False)
            with store.reading() as tx:
                newest = max((event.at for event in tx.events.list(limit=1)), default=0)
    except (StoreUnavailable, Refused) as error:
        return Database(shown, revision, known, str(error)), inventory, newest
    finally:
        engine.dispose()
    return Database(shown, revision, known), inventory, newest


def _images(settings: Settings) -> ImageStore | None:
    folder = settings.data_dir / "images"
    return ImageStore(folder) if folder.is_dir() else None


def _role(folder: RoleFolder, name: str, images: ImageStore | None, inventory: Inventory) -> RoleState:
    used = any(machine.slot.role == name for machine in inventory.machines.values())
    try:
        role = folder.get(name)
        try_role(folder, name, images.get if images else _no_image)
    except Refused as refusal:
        return RoleState(name, "", fault=str(refusal))
    return RoleState(name, role.settings.image, role.settings.image_version, used=used)


def _no_image(name: str, _version: str | None) -> Image:
    raise NotFound("image", name)


def _neighbours(inventory: Inventory, wires: Sequence[Wire]) -> int:
    near = [subnet for subnet in inventory.subnets if any(_on(subnet, wire) for wire in wires)]
    listed = sum(
        any(address.ip in subnet.prefix for subnet in near)
        for machine in inventory.machines.values()
        for address in machine.addresses
    )
    dynamic = sum(int(pool.last) - int(pool.first) + 1 for subnet in near for pool in subnet.pools)
    controllers = sum(machine.bmc_id is not None for machine in inventory.machines.values())
    return listed + dynamic + controllers


def _on(subnet: Subnet, wire: Wire) -> bool:
    return any(address.ip in subnet.prefix for address in wire.addresses)


def _written(file: Path) -> int:
    """When this program was installed, UTC microseconds: the clock was never right before."""
    return int(file.stat().st_mtime * 1_000_000)


def _fetches(settings: Settings, facts: Facts) -> list[Fetch]:
    names = [loader.name for loader in facts.loaders if not loader.fault]
    done: list[Fetch] = []
    images = _images(settings)
    for wire in facts.wires:
        if wire.address is None:
            continue
        server = str(wire.address)
        done += fetched.by_tftp(server, settings.tftp.port, settings.loaders, names)
        machines = _listening("machines", _listen(settings.machines.listen), server, 80)
        bulk = _listening("images", settings.images.listen, server, 8081)
        wanted = [
            (f"http://{_host(machines)}/loaders/{name}", fetched.sha256_of(settings.loaders / name))
            for name in names
        ]
        for image in images.list() if images else ():
            wanted += [
                (f"http://{_host(bulk)}/images/{image.name}/{image.version}/{file.name}", file.sha256)
                for file in image.files
                if is_kernel(file.name) or not any(word in file.name for word in _BULK)
            ]
        done += fetched.by_http(wanted)
    return done


def _host(port: Port) -> str:
    host = f"[{port.address}]" if ip_address(port.address).version == 6 else port.address
    return host if port.number == 80 else f"{host}:{port.number}"
