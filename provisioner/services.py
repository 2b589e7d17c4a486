"""The services beside packets, each in a process of its own: web, images, bmc."""

import asyncio
import socket
import threading
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import structlog

from provisioner import examination
from provisioner.actions import bmc_jobs
from provisioner.actions import images as image_jobs
from provisioner.actions.retention import Retention
from provisioner.asgi import serve_apps
from provisioner.dhcp.counting import PACKETS_METRICS
from provisioner.doctor.checkup import Checkup
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.ports import BmcPort
from provisioner.images import server as image_server
from provisioner.images.traffic import Traffic
from provisioner.power_on import rehearsal
from provisioner.readiness import tell_alive, tell_ready
from provisioner.settings import Settings
from provisioner.sockets import (
    IMAGES_PORT,
    address_of,
    host_port,
    machine_sockets,
    people_socket,
    served_addresses,
)
from provisioner.storage.journal import Journal
from provisioner.storage.observer import EventWriter
from provisioner.watchdog import Watchdog
from provisioner.web.machines import create_machines_app
from provisioner.web.neighbours import neighbour
from provisioner.web.parts import Parts
from provisioner.web.people import create_people_app
from provisioner.web.reached import reached_at
from provisioner.wiring import House, clock

log = structlog.get_logger()


def web(settings: Settings, stop: threading.Event) -> None:
    """The page and API for people, and what machines ask for."""
    with ExitStack() as stack:
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        feed = house.follow(stack, "web", files=True)
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
            stopping=stop,
        )
        apps: list[tuple[Any, list[socket.socket]]] = [
            (create_people_app(parts), [people_socket(settings)]),
            # One app for all wires: it remembers what it handed out, whichever wire a machine comes by.
            (reached_at(create_machines_app(parts), served_addresses(settings)), machine_sockets(settings)),
        ]
        # After the sockets: a port that is taken must end the process.
        dog = Watchdog(house.store, feed, journal, Retention(house.store, settings.observed_days), clock)
        watchdog = threading.Thread(target=dog.run, args=(stop,), name="watchdog")
        watchdog.start()
        try:
            asyncio.run(serve_apps(apps, stop, tell_ready, tell_alive))
        finally:
            stop.set()
            watchdog.join()


def images(settings: Settings, stop: threading.Event) -> None:
    """Bulk files by kernel sendfile, on the stock asyncio loop (uvloop has no sendfile)."""
    with ExitStack() as stack:
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        feed = house.follow(stack, "images", files=False)
        observer = _observer(stack, house, "images")
        hosts = [str(address_of(wire)) for wire in settings.wires]
        listen = (
            [host_port(settings.images.listen, hosts[0], IMAGES_PORT)]
            if settings.images.listen
            else [(host, IMAGES_PORT) for host in hosts]
        )

        pace = settings.images.max_kilobytes_per_second * 1000
        traffic = Traffic(feed, settings.images.max_transfers, pace)

        async def serve() -> None:
            async with AsyncExitStack() as sites:
                for host, port in listen:
                    app = image_server.create_app(
                        house.images, house.payload, feed, observer, clock, house.containers, traffic
                    )
                    await sites.enter_async_context(image_server.listening(app, host, port))
                tell_ready()
                while not await asyncio.to_thread(stop.wait, 0.5):
                    tell_alive()

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
        except Exception:
            # Its lease runs out and it is tried again; the others must not wait for somebody to restart us.
            log.exception("image job failed")
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
        tell_ready()
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
        except Exception:
            # As above: a lane that ends here would be missing from now on, without a word.
            log.exception("job for BMCs failed")
        if idle:
            stop.wait(0.2)


def _observer(stack: ExitStack, house: House, name: str) -> EventWriter:
    observer = EventWriter(house.store, name)
    stack.callback(observer.close)
    return observer
