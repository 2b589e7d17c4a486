"""The process that writes for the packet loops: what they observe, and their snapshot of the inventory on disk.

Forked once, before there are threads.
"""

import gc
import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from provisioner.settings import Settings
from provisioner.storage.feed import ChangeFeed
from provisioner.storage.observer import EventWriter
from provisioner.storage.pipe import PipeObserver, pipe, write_from
from provisioner.wiring import House

log = structlog.get_logger()


@dataclass(slots=True)
class Writer:
    """The process that writes what the packet loops observe."""

    pid: int
    observer: PipeObserver
    status: int | None = None

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def close(self) -> None:
        """Let it write what it has."""
        self.observer.close()
        if self.status is None:
            _, self.status = os.waitpid(self.pid, 0)


def writer_process(stack: ExitStack, settings: Settings, name: str, *, files: bool | str) -> Writer:
    """Fork it. It ends, its queue written, when this process closes the pipe or dies.

    ``files``: as in the service's own feed; what is on disk is what it would have in memory.
    """
    here, there = pipe()
    pid = os.fork()
    if pid:
        there.close()
        writer = Writer(pid, PipeObserver(here, name))
        stack.callback(writer.close)
        return writer
    code = 1
    try:
        here.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        # A packet is answered before it is written about.
        os.nice(10)
        with ExitStack() as own:
            house = own.enter_context(House.open(settings, database_may_be_away=True))
            observer = EventWriter(house.store, name)
            own.callback(observer.close)
            feed = ChangeFeed(house.store, snapshot_file=house.snapshot_file(name), files=files)
            feed.start()
            own.callback(feed.stop)
            # The machines stay: to look for garbage among 10,000 of them took a fifth of this process's time.
            gc.collect()
            gc.freeze()
            write_from(there, observer, observer.has_room)
        code = 0
    except Exception:
        log.exception("observations are not written any more")
    finally:
        # Whatever the parent registered to happen at its end is not for this process to do.
        os._exit(code)
