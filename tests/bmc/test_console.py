"""The console on a real terminal, through ``ipmi_sim``'s serial over LAN, to a program that echoes."""

import os
import pty
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.bmc import terminal
from provisioner.domain.bmc import Bmc, Login
from tests.bmc.conftest import simulated_bmc

pytestmark = pytest.mark.system
ADDRESS = f"127.{64 + os.getpid() % 128}.{os.getpid() >> 7 & 255}.9"


@contextmanager
def serial_port(heard: list[bytes]) -> Iterator[str]:
    """A server's serial port that says what it gets, in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as service:

        def serve() -> None:
            try:
                with service.accept()[0] as line:
                    while data := line.recv(256):
                        heard.append(data)
                        line.sendall(data.upper())
            except OSError:
                return  # the test is over

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp:127.0.0.1:{service.getsockname()[1]}"


class Typist:
    """A person at a terminal: a child of this process runs there."""

    def __init__(self, run: Callable[[], int]) -> None:
        self.pid, self._terminal = pty.fork()
        if not self.pid:
            os._exit(run())
        self.seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def sees(self, words: bytes, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        while words not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._terminal, 1024)
                except OSError:
                    assert words in self.seen, self.seen

    def left(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("port", [623, 6230])
def test_what_is_typed_reaches_the_serial_port_and_back_until_the_escape(tmp_path: Path, port: int) -> None:
    heard: list[bytes] = []
    with serial_port(heard) as serial, simulated_bmc(tmp_path, ADDRESS, port, serial) as simulated:
        person = Typist(lambda: terminal.attached(simulated.bmc, simulated.login))
        until = time.monotonic() + 20
        while not heard:
            assert time.monotonic() < until, person.seen
            person.type(b"\r")
            time.sleep(0.2)
        person.type(b"who is there\r")
        person.sees(b"WHO IS THERE")
        argv = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert simulated.login.password not in argv
        person.type(b"~.")
        assert person.left() == 0
    assert b"~" not in b"".join(heard)


def test_a_wrong_login_is_told_and_ends_it(tmp_path: Path) -> None:
    with simulated_bmc(tmp_path, ADDRESS, 623) as simulated:
        wrong = Login("admin", "wrong")
        person = Typist(lambda: terminal.attached(simulated.bmc, wrong))
        person.sees(b"Incorrect password")
        assert person.left() == 1
        nobody = Typist(lambda: terminal.attached(Bmc(simulated.bmc.id, ADDRESS, 624), wrong))
        nobody.sees(b"nothing listens there")
        assert nobody.left() == 1
