"""The four services, each in a process of its own: packets, web, images, bmc."""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from provisioner import examination
from provisioner.actions import arm, bmc_jobs
from provisioner.actions import images as image_jobs
from provisioner.actions.replay import replay
from provisioner.actions.retention import Retention
from provisioner.actions.retry_boot import may_retry, retry_boots
from provisioner.boot.role_options import RoleOptions
from provisioner.dhcp.counting import PACKETS_METRICS, exposition
from provisioner.dhcp.lease_file import LeaseFile
from provisioner.dhcp.respond import Mode
from provisioner.dhcp.rogues import RogueWatch
from provisioner.dhcp.server import DhcpServer, Pace, Served
from provisioner.doctor.checkup import Checkup
from provisioner.domain import lifecycle
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import BmcPort, Observer
from provisioner.images import server as image_server
from provisioner.images.traffic import Traffic
from provisioner.logs import configure_logging
from provisioner.power_on import rehearsal
from provisioner.settings import Settings
from provisioner.sockets import (
    IMAGES_PORT,
    address_of,
    host_port,
    machine_sockets,
    people_socket,
    served_addresses,
)
from provisioner.storage.feed import ChangeFeed
from provisioner.storage.journal import Journal
from provisioner.storage.observer import EventWriter
from provisioner.tftp.limits import Limits
from provisioner.tftp.server import TftpServer
from provisioner.tftp.virtual import VirtualFiles
from provisioner.web.machines import create_machines_app
from provisioner.web.neighbours import neighbour
from provisioner.web.parts import Parts
from provisioner.web.people import create_people_app
from provisioner.web.reached import reached_at
from provisioner.wiring import House, clock
from provisioner.writer import writer_process

log = structlog.get_logger()
_WATCHDOG_SECONDS = 5.0
_NICE = -5
_FILES_OF_PACKETS = "boot.grub"
"""Of an install's compiled files TFTP serves this one."""


def run(name: str, settings: Settings) -> None:
    """Run one service until SIGTERM or SIGINT. Raises Refused."""
    services: dict[str, Callable[[Settings, threading.Event], None]] = {
        "packets": packets,
        "web": web,
        "images": images,
        "bmc": bmc,
    }
    if name not in services:
        raise Refused(f"service {name!r} is not known", f"choose one of {', '.join(services)}")
    configure_logging(settings, name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    services[name](settings, stop)


def check(settings: Settings) -> None:
    """Refuse now, in one sentence, what every service would stumble over."""
    if not settings.wires:
        raise Refused("no interface is configured", "name the wire: `provisioner serve --interface eth1`")
    for wire in settings.wires:
        address_of(wire)


def packets(settings: Settings, stop: threading.Event) -> None:
    """DHCP and TFTP: the only service with raw and low-port rights."""
    with ExitStack() as stack:
        # The packet loop gives Python's lock away at every send; 5 ms until it is given back would be its pace.
        sys.setswitchinterval(0.0001)
        # First: a process with threads must not fork.
        writer = writer_process(stack, settings, "packets", files=_FILES_OF_PACKETS)
        observer = writer.observer
        _go_first()
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        feed = _feed(stack, house, "packets", files=_FILES_OF_PACKETS, keep=False)
        loaders = (
            frozenset(path.name for path in settings.loaders.iterdir())
            if settings.loaders.is_dir()
            else frozenset()
        )
        wires = [Served(wire.name, address_of(wire), Mode(wire.dhcp)) for wire in settings.wires]
        listen = [(address_of(wire), settings.tftp.port) for wire in settings.wires]
        ports = (
            range(settings.tftp.first_port, settings.tftp.last_port + 1) if settings.tftp.first_port else range(0)
        )
        limits = Limits(sessions=settings.tftp.max_sessions, ports=ports, single_port=settings.tftp.single_port)
        virtual = VirtualFiles(feed, clock, neighbour, house.images, observer.observe).content
        role_options = RoleOptions(house.roles)
        role_options.refresh()
        # Before DHCP, which starts a writing thread: a refusal here must end the process.
        tftp = TftpServer(settings.loaders, listen, feed, observer, virtual=virtual, limits=limits, now=clock)
        dhcp = DhcpServer(
            wires,
            feed,
            observer,
            clock,
            loaders=loaders,
            role_options=role_options.of,
            lease_file=_lease_file(settings, observer),
            pace=Pace(
                newcomers=(settings.dhcp.newcomers_per_second, settings.dhcp.newcomers_per_second * 10),
                unlisted=(settings.dhcp.unlisted_per_second, settings.dhcp.unlisted_per_second * 10),
            ),
        )
        threads = [threading.Thread(target=each.run, name=name) for name, each in (("dhcp", dhcp), ("tftp", tftp))]
        alone = [served.name for served in wires if served.mode is Mode.AUTHORITATIVE]
        ours = frozenset(served.address for served in wires)
        watch = RogueWatch(
            alone if settings.dhcp.probe_seconds else [], ours, observer, clock, settings.dhcp.probe_seconds
        )
        watching = threading.Thread(target=watch.run, args=(stop,), name="rogue watch", daemon=True)
        for thread in (*threads, watching):
            thread.start()
        numbers = settings.data_dir / PACKETS_METRICS
        log.info("packets served", wires=[wire.name for wire in wires])
        # What is there now stays: to look for garbage in 10,000 machines stops the loops for a tenth of a second.
        gc.collect()
        gc.freeze()
        while not stop.wait(0.5):
            if not all(thread.is_alive() for thread in threads) or writer.ended():
                break
            role_options.refresh()
            _publish(numbers, exposition(dhcp.counters, dhcp.lease_counts(), watch.current, observer.dropped_total))
        dhcp.stop()
        tftp.stop(grace=5.0)
        for thread in threads:
            thread.join()
        if not stop.is_set():
            what = "the writer of observations" if writer.ended() else "a packet loop"
            raise Refused(f"{what} ended by itself", "see the log; the supervisor starts it again")


def _go_first() -> None:
    """An OFFER is due in milliseconds, nothing else here is. Without CAP_SYS_NICE it goes as it goes."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        # A nice value counts within a session only where the kernel groups processes by session (sched(7)); the
        # session of our own, if we do not lead one already, has one, too.
        with suppress(PermissionError):
            os.setsid()
        Path("/proc/self/autogroup").write_text(str(_NICE))


def web(settings: Settings, stop: threading.Event) -> None:
    """The page and API for people, and what machines ask for."""
    with ExitStack() as stack:
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        feed = _feed(stack, house, "web", files=True)
        journal = Journal(settings.data_dir / "journal.jsonl")
        metrics = settings.data_dir / PACKETS_METRICS
        checkup = Checkup(lambda deep: examination.examine(settings, deep=deep, metrics=metrics), clock)
        threading.Thread(target=checkup.run, args=(stop,), name="doctor", daemon=True).start()
        parts = Parts(
            store=house.store,
            snapshot=feed,
            observer=_observer(stack, house, "web"),
            compiler=house.compiler,
            journal=journal,
            token_key=house.keyring.token_key,
            clock=clock,
            neighbour=neighbour,
            loaders=settings.loaders,
            images=house.library,
            planner=house.planner,
            power_on=rehearsal(house),
            role_images=house.role_images,
            roles=house.role_names,
            payload=lambda: house.payload.manifest().keys(),
            packets_metrics=metrics,
            checkup=checkup,
            arm_hours=settings.arm_hours,
            wires=tuple((wire.name, address_of(wire)) for wire in settings.wires),
        )
        apps: list[tuple[Any, list[socket.socket]]] = [
            (create_people_app(parts), [people_socket(settings)]),
            # One app for all wires: it remembers what it handed out, whichever wire a machine comes by.
            (reached_at(create_machines_app(parts), served_addresses(settings)), machine_sockets(settings)),
        ]
        # After the sockets: a port that is taken must end the process.
        watchdog = threading.Thread(target=_watch, args=(house, feed, journal, stop), name="watchdog")
        watchdog.start()
        try:
            asyncio.run(_serve_apps(apps, stop))
        finally:
            stop.set()
            watchdog.join()


def images(settings: Settings, stop: threading.Event) -> None:
    """Bulk files by kernel sendfile, on the stock asyncio loop (uvloop has no sendfile)."""
    with ExitStack() as stack:
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        feed = _feed(stack, house, "images", files=False)
        observer = _observer(stack, house, "images")
        hosts = [str(address_of(wire)) for wire in settings.wires]
        listen = (
            [host_port(settings.images.listen, hosts[0], IMAGES_PORT)]
            if settings.images.listen
            else [(host, IMAGES_PORT) for host in hosts]
        )

        traffic = Traffic(feed, settings.images.max_transfers)

        async def serve() -> None:
            async with AsyncExitStack() as sites:
                for host, port in listen:
                    app = image_server.create_app(
                        house.images, house.payload, feed, observer, clock, house.containers, traffic
                    )
                    await sites.enter_async_context(image_server.listening(app, host, port))
                await asyncio.to_thread(stop.wait)

        jobs = threading.Thread(target=_image_jobs, args=(house, stop), name="image-jobs")
        jobs.start()
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(serve())
        finally:
            stop.set()
            jobs.join()


def _image_jobs(house: House, stop: threading.Event) -> None:
    """Fetches and verifies what the API was asked for; hashing and sockets leave Python's lock to the server."""
    while not stop.is_set():
        try:
            idle = image_jobs.work(house.store, house.library, clock, stop) is None
        except StoreUnavailable as error:
            log.warning("database away, image jobs wait", error=str(error))
            idle = True
        if idle:
            stop.wait(1.0)


_BMC_JOBS = 4
"""At once: a harvest of three hundred must not hold up the boot device of a machine that reports complete."""


def bmc(settings: Settings, stop: threading.Event) -> None:
    """Power, boot device, harvest and scan jobs; the pool bounds what they ask of BMCs together."""
    with ExitStack() as stack:
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        pool = house.bmc_pool()
        lanes = [threading.Thread(target=_bmc_jobs, args=(house, pool, stop)) for _ in range(_BMC_JOBS)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()


def _bmc_jobs(house: House, pool: BmcPort, stop: threading.Event) -> None:
    while not stop.is_set():
        idle = True
        try:
            idle = bmc_jobs.work(house.store, pool, clock) is None
        except StoreUnavailable as error:
            log.warning("database away, jobs wait", error=str(error))
        except Refused as refusal:
            log.warning("job left", error=str(refusal))
        if idle:
            stop.wait(0.2)


class _Server(uvicorn.Server):
    """Signals belong to the service: two servers in one process would take them from each other."""

    def capture_signals(self) -> Any:
        return nullcontext()


async def _serve_apps(apps: Sequence[tuple[Any, list[socket.socket]]], stop: threading.Event) -> None:
    servers = [
        _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                # X-Forwarded-For would let any local user pose as a machine: sources are those of the sockets.
                proxy_headers=False,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        for app, _ in apps
    ]
    running = [
        asyncio.create_task(server.serve(sockets=socks)) for server, (_, socks) in zip(servers, apps, strict=True)
    ]

    async def watch() -> None:
        while not await asyncio.to_thread(stop.wait, 0.5) and not any(task.done() for task in running):
            continue
        for server in servers:
            server.should_exit = True

    await asyncio.gather(watch(), *running)


def _watch(house: House, feed: ChangeFeed, journal: Journal, stop: threading.Event) -> None:
    """Ends what is overdue, brings journalled callbacks into the database when it is back, forgets what is old."""
    retention = Retention(house.store, house.settings.observed_days)
    while not stop.wait(_WATCHDOG_SECONDS):
        try:
            journal.replay(lambda entry: replay(house.store, entry))
            now = clock()
            hang = [m for m in feed.inventory.machines.values() if may_retry(m, now)]
            if hang:
                for machine in retry_boots(house.store, [m.id for m in hang], now=now):
                    log.warning("hangs in its boot", machine=machine.name)
            late = [m for m in feed.inventory.machines.values() if lifecycle.overdue(m, now)]
            if late:
                for machine in arm.expire(house.store, [m.id for m in late], now=now):
                    log.warning("overdue", machine=machine.name, reason=machine.state_reason)
            retention.step(now)
        except (StoreUnavailable, Refused) as error:
            log.warning("watchdog waits for the database", error=str(error))


def _feed(stack: ExitStack, house: House, name: str, *, files: bool | str, keep: bool = True) -> ChangeFeed:
    feed = ChangeFeed(house.store, snapshot_file=house.snapshot_file(name), keep=keep, files=files)
    feed.start()
    stack.callback(feed.stop)
    return feed


def _publish(file: Path, text: str) -> None:
    """Put numbers where the web service's /metrics takes them from, whole or not at all. A full disk costs the
    numbers, not the service."""
    fresh = file.with_suffix(".new")
    with suppress(OSError):
        fresh.write_text(text)
        fresh.replace(file)


def _lease_file(settings: Settings, observer: Observer) -> LeaseFile | None:
    """None when it cannot be used: machines with reservations are served all the same."""
    try:
        return LeaseFile.open(settings.data_dir / "leases.db")
    except Refused as refused:
        log.exception("no addresses of pools are given out", reason=str(refused))
        why = f"no addresses of pools are given out: {refused}"
        observer.observe(Event(Kind.SERVICE, why, clock(), actor="dhcp"))
        return None


def _observer(stack: ExitStack, house: House, name: str) -> EventWriter:
    observer = EventWriter(house.store, name)
    stack.callback(observer.close)
    return observer
