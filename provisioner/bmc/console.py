"""A server's serial console over IPMI (SOL, IPMI 2.0 §15): ``python -m provisioner.bmc.console FD``.

A process of its own, because pyghmi keeps threads and sockets process-wide. The door and its login come as JSON
over the file descriptor ``FD``, never as arguments; the terminal is inherited. Exit code 1: refused, see stderr.
"""

import json
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pyghmi.exceptions import IpmiException
from pyghmi.ipmi.console import Console

from provisioner.bmc import ipmi
from provisioner.bmc.keys import HELP, Keys
from provisioner.bmc.session import Target
from provisioner.domain.errors import BmcError

_TICK = 0.02
"""Seconds between looks at the keyboard: what a typist doesn't notice."""
_CONNECT = 15.0
"""Seconds for the login and the activation of the payload."""


class _Screen:
    """What the BMC sends goes to stdout; what ends the console is kept."""

    def __init__(self) -> None:
        self.ended = ""

    def hear(self, data: Any) -> None:
        if isinstance(data, dict):
            self.ended = str(data.get("error", "")) or self.ended
        elif data:
            os.write(1, data if isinstance(data, bytes) else str(data).encode())


def attach(target: Target) -> None:
    """Until the escape sequence, the end of stdin, or the BMC's. Raises BmcError."""
    ipmi.probe(target.address, target.port)
    screen = _Screen()
    with ipmi.translated(target.address, target.user):
        console = Console(target.address, target.user, target.password, screen.hear, port=target.port)
        try:
            _connected(console, screen)
            with _raw():
                _talk(console, screen)
        finally:
            with suppress(Exception):  # the BMC ends what it does not hear of any more
                console.close()
                console.ipmi_session.logout()
        if screen.ended:
            raise IpmiException(screen.ended)


def _connected(console: Console, screen: _Screen) -> None:
    ticks = int(_CONNECT / _TICK)
    while not console.connected and not screen.ended and ticks:
        Console.wait_for_rsp(_TICK)
        ticks -= 1
    if not console.connected:
        raise IpmiException(screen.ended or "timeout while the console was being opened")


def _talk(console: Console, screen: _Screen) -> None:
    keys = Keys()
    while not screen.ended:
        Console.wait_for_rsp(_TICK)
        if not select.select([0], [], [], 0)[0]:
            continue
        data = os.read(0, 1024)
        if not data:
            return
        for piece in keys.typed(data):
            if piece.send:
                console.send_data(piece.send)
            if piece.act == "end":
                return
            if piece.act == "break":
                console.send_break()
            elif piece.act == "help":
                os.write(1, HELP)


@contextmanager
def _raw() -> Iterator[None]:
    """The terminal passes every key on; restored whatever happens."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def main(argv: list[str]) -> int:
    with os.fdopen(int(argv[1])) as door:
        told = json.load(door)
    target = Target(told["address"], told["port"], told["user"], told["password"])
    status = 0
    try:
        attach(target)
    except BmcError as error:
        os.write(2, f"provisioner: {error}\n".encode())
        status = 1
    # Not sys.exit: pyghmi's thread would be joined.
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv)
