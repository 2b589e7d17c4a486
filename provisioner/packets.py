"""The packets service: DHCP and TFTP, the only one with raw and low-port rights."""

import gc
import os
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog

from provisioner.boot.role_options import RoleOptions
from provisioner.dhcp.counting import PACKETS_METRICS, exposition
from provisioner.dhcp.lease_file import LeaseFile
from provisioner.dhcp.respond import Mode
from provisioner.dhcp.rogues import RogueWatch
from provisioner.dhcp.server import DhcpServer
from provisioner.dhcp.serving import Pace, Served
from provisioner.domain.errors import Refused
from provisioner.domain.events import Event, Kind
from provisioner.domain.ports import Observer
from provisioner.readiness import tell_alive, tell_ready
from provisioner.settings import Settings
from provisioner.sockets import address_of
from provisioner.tftp.limits import Limits
from provisioner.tftp.server import TftpServer
from provisioner.tftp.virtual import VirtualFiles
from provisioner.web.neighbours import neighbour
from provisioner.wiring import House, clock
from provisioner.writer import writer_process

log = structlog.get_logger()
_NICE = -5
_LOOK_AGAIN_SECONDS = 5.0
"""Until a lease file that could not be opened is tried again: who frees the disk does not think of a restart."""
_FILES_OF_PACKETS = "boot.grub"
"""Of an install's compiled files TFTP serves this one."""
_ROUND_SECONDS = 10.0
"""A packet loop that has not come round for so long hangs."""
_LEASES_AT_ONCE = 1000
"""New leases are no garbage either. So many are told the collector together: what else it is told on the way stays,
so that it must not be every half second."""


def packets(settings: Settings, stop: threading.Event) -> None:
    """Serve until ``stop``. Raises Refused."""
    with ExitStack() as stack:
        # The packet loop gives Python's lock away at every send; 5 ms until it is given back would be its pace.
        sys.setswitchinterval(0.0001)
        # First: a process with threads must not fork.
        writer = writer_process(stack, settings, "packets", files=_FILES_OF_PACKETS)
        observer = writer.observer
        _go_first()
        house = stack.enter_context(House.open(settings, database_may_be_away=True))
        feed = house.follow(stack, "packets", files=_FILES_OF_PACKETS, keep=False)
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
        role_options = RoleOptions(house.roles, house.effective_roles.in_force)
        role_options.refresh()
        # Before DHCP, which starts a writing thread: a refusal here must end the process.
        tftp = TftpServer(settings.loaders, listen, feed, observer, virtual=virtual, limits=limits, now=clock)
        leased = _Leased(settings, observer)
        dhcp = DhcpServer(
            wires,
            feed,
            observer,
            clock,
            loaders=loaders,
            role_options=role_options.of,
            lease_file=leased.file,
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
        rounds = threading.Thread(
            target=_tell_rounds, args=(dhcp, tftp, observer, stop), name="rounds", daemon=True
        )
        for thread in (*threads, watching, rounds):
            thread.start()
        numbers = settings.data_dir / PACKETS_METRICS
        log.info("packets served", wires=[wire.name for wire in wires])
        tell_ready()
        # What is there now stays: to look for garbage in 10,000 machines stops the loops for a tenth of a second.
        gc.collect()
        gc.freeze()
        kept = 0
        while not stop.wait(0.5):
            if not all(thread.is_alive() for thread in threads) or writer.ended():
                break
            role_options.refresh()
            leased.open_for(dhcp)
            leases = dhcp.lease_counts()
            if (known := sum(leases.values())) > kept + _LEASES_AT_ONCE:
                gc.freeze()
                kept = known
            told = exposition(dhcp.counters, leases, watch.current, observer.dropped_total, dhcp.lease_fault)
            _publish(numbers, told)
        dhcp.stop()
        tftp.stop(grace=5.0)
        for thread in threads:
            thread.join()
        if not stop.is_set():
            what = "the writer of observations" if writer.ended() else "a packet loop"
            raise Refused(f"{what} ended by itself", "see the log; the supervisor starts it again")


def _tell_rounds(dhcp: DhcpServer, tftp: TftpServer, observer: Observer, stop: threading.Event) -> None:
    """That the packet loops come round. In a thread that touches no disk: while one hangs, DHCP still answers from
    memory, and would not start again. For TFTP, which reads files, a restart is for people to decide."""
    told = False
    while not stop.wait(1.0):
        if time.monotonic() - dhcp.round_at < _ROUND_SECONDS:
            tell_alive()
        late = time.monotonic() - tftp.round_at > _ROUND_SECONDS
        if late and not told:
            why = "TFTP hangs: its loop has not come round for 10 s; look at the disk, then restart the service"
            log.warning(why)
            observer.observe(Event(Kind.SERVICE, why, clock(), actor="tftp"))
        told = late


def _go_first() -> None:
    """An OFFER is due in milliseconds, nothing else here is. Without CAP_SYS_NICE it goes as it goes."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        # A nice value counts within a session only where the kernel groups processes by session (sched(7)); the
        # session of our own, if we do not lead one already, has one, too.
        with suppress(PermissionError):
            os.setsid()
        Path("/proc/self/autogroup").write_text(str(_NICE))


def _publish(file: Path, text: str) -> None:
    """Put numbers where the web service's page and /metrics take them from, whole. On a full disk they go where the
    last ones were, as far as there is room; that costs numbers, not the service."""
    fresh = file.with_suffix(".new")
    try:
        fresh.write_text(text)
        fresh.replace(file)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        with suppress(OSError), file.open("r+b", buffering=0) as here:
            fits = text.encode()[: os.fstat(here.fileno()).st_size]
            here.truncate(here.write(fits[: fits.rfind(b"\n") + 1]))


class _Leased:
    """The lease file. While it cannot be used machines with reservations are served all the same."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._path = settings.data_dir / "leases.db"
        self._observer = observer
        self._again = time.monotonic() + _LOOK_AGAIN_SECONDS
        self.file: LeaseFile | None = None
        try:
            self.file = LeaseFile.open(self._path)
        except Refused as refused:
            log.exception("no addresses of pools are given out", reason=str(refused))
            self._tell(f"no addresses of pools are given out: {refused}")

    def open_for(self, dhcp: DhcpServer) -> None:
        """If it is not open, try again, now and then."""
        if self.file is not None or time.monotonic() < self._again:
            return
        self._again = time.monotonic() + _LOOK_AGAIN_SECONDS
        with suppress(Refused):
            self.file = LeaseFile.open(self._path)
            dhcp.use(self.file)
            self._tell("addresses of pools are given out again")

    def _tell(self, what: str) -> None:
        self._observer.observe(Event(Kind.SERVICE, what, clock(), actor="dhcp"))
