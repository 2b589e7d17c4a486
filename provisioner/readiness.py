"""Says and hears that a service answers, and that it goes on: sd_notify(3), without its library.

The manager is systemd, or the supervisor of ``serve``, which understands the same.
"""

import os
import socket
import time
from contextlib import suppress


def tell_ready() -> None:
    """``READY=1`` to the socket that systemd names in NOTIFY_SOCKET; nothing where nobody asked.

    Whatever waits for the unit goes on from here: every socket must be listening.
    """
    _tell(b"READY=1", patient=True)


def tell_alive() -> None:
    """``WATCHDOG=1``, where the manager wants to know (WATCHDOG_USEC, sd_watchdog_enabled(3)).

    Call it every second or so from where the work is done: who does not get round to it any more is killed and
    started again.
    """
    if os.environ.get("WATCHDOG_USEC"):
        _tell(b"WATCHDOG=1", patient=False)


def _tell(what: bytes, *, patient: bool) -> None:
    if not (address := os.environ.get("NOTIFY_SOCKET", "")):
        return
    # @ stands for the zero byte of a name that is in no file system (unix(7)).
    name = "\0" + address[1:] if address.startswith("@") else address
    # A manager that went away, or has no time to listen, is no reason not to serve.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.setblocking(patient)
        notify.sendto(what, name)


class Awaited:
    """Hears one service say that it answers and goes on, as a service manager does."""

    def __init__(self) -> None:
        self.ready = False
        """It has said that it answers."""
        self.alive_at: float | None = None
        """When it last said that it goes on (monotonic); None: it never did."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("")  # the kernel finds a name (unix(7), autobind)

    @property
    def address(self) -> str:
        """What the service finds in NOTIFY_SOCKET."""
        name: bytes = self._socket.getsockname()
        return "@" + name[1:].decode()

    def listen(self) -> None:
        """Take in what it has said since."""
        with suppress(BlockingIOError):
            while said := self._socket.recv(4096).split(b"\n"):
                self.ready |= b"READY=1" in said
                if b"WATCHDOG=1" in said:
                    self.alive_at = time.monotonic()

    def close(self) -> None:
        self._socket.close()
