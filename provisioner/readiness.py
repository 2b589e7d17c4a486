"""Says and hears that a service answers: sd_notify(3), without its library."""

import os
import socket
from contextlib import suppress


def tell_ready() -> None:
    """``READY=1`` to the socket that systemd names in NOTIFY_SOCKET; nothing where nobody asked.

    Whatever waits for the unit goes on from here: every socket must be listening.
    """
    if not (address := os.environ.get("NOTIFY_SOCKET", "")):
        return
    # @ stands for the zero byte of a name that is in no file system (unix(7)).
    name = "\0" + address[1:] if address.startswith("@") else address
    # A manager that went away is no reason not to serve.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", name)


class Awaited:
    """Hears one service say that it answers, as a service manager does."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("")  # the kernel finds a name (unix(7), autobind)

    @property
    def address(self) -> str:
        """What the service finds in NOTIFY_SOCKET."""
        name: bytes = self._socket.getsockname()
        return "@" + name[1:].decode()

    def told(self) -> bool:
        """Has it said so since this was asked last?"""
        with suppress(BlockingIOError):
            return b"READY=1" in self._socket.recv(4096).split(b"\n")
        return False

    def close(self) -> None:
        self._socket.close()
