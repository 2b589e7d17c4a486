"""Tells the service manager that a service answers: sd_notify(3), without its library."""

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
