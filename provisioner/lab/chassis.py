"""Between the virtual BMCs and the machines: what a BMC's chassis control asks, done to the QEMU machine.

``ipmi_sim`` runs a program for every chassis command, as ``PROGRAM get|set NAME [VALUE] …``, and reads
``NAME:VALUE`` lines for a get. That program is a few lines of Python that pass the words to a Unix socket of the
lab's process: sockets with a path reach across network namespaces.
"""

import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from provisioner.domain.errors import Refused
from provisioner.lab.machine import VirtualMachine

_PROGRAM = """#!{python} -IS
import socket, sys
with socket.socket(socket.AF_UNIX) as lab:
    lab.settimeout(10)
    lab.connect({path!r})
    lab.sendall(" ".join([{name!r}, *sys.argv[1:]]).encode() + b"\\n")
    answer = lab.makefile().read()
sys.exit(answer[6:].strip()) if answer.startswith("error ") else print(answer, end="")
"""


class ChassisServer:
    """Answers the chassis programs of all machines, one request at a time."""

    def __init__(self, machines: Mapping[str, VirtualMachine], path: Path) -> None:
        self._machines = machines
        self._path = path
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def program(self, name: str, file: Path) -> Path:
        """Write the program that ``ipmi_sim`` is to run for machine ``name``."""
        file.write_text(_PROGRAM.format(python=sys.executable, path=str(self._path), name=name))
        file.chmod(0o755)
        return file

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), name="lab-chassis", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Safe to call twice."""
        if self._listener is not None and self._thread is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # ends the accept() in the other thread
            self._thread.join(10)
            self._listener.close()
            self._listener = None
        self._path.unlink(missing_ok=True)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(10)
                words = connection.makefile().readline().split()
                try:
                    answer = self.answer(words)
                except Refused as refused:
                    answer = f"error {refused}\n"
                connection.sendall(answer.encode())

    def answer(self, words: Sequence[str]) -> str:
        """The lines for one request. Raises Refused for what a chassis cannot do."""
        match words:
            case [name, "get", *things] if name in self._machines:
                machine = self._machines[name]
                known = {"power": str(int(machine.on)), "boot": machine.boot_device}
                return "".join(f"{thing}:{known[thing]}\n" for thing in things if thing in known)
            case [name, "set", *pairs] if name in self._machines:
                for thing, value in zip(pairs[::2], pairs[1::2], strict=False):
                    _set(self._machines[name], thing, value)
                return ""
            case [_, "check", *_]:
                return ""
        raise Refused(f"the lab's chassis does not know {' '.join(words)!r}")


def _set(machine: VirtualMachine, thing: str, value: str) -> None:
    match thing, value:
        case "power", "1":
            machine.start()
        case "power" | "shutdown", _:
            # No ACPI here: a soft shutdown of a server that installs would only ever be ignored.
            machine.stop()
        case "reset", _:
            machine.reset()
        case "boot", _:
            machine.boot_device = value
        case "identify", _:
            pass  # there is no lamp
        case _:
            raise Refused(f"the lab's chassis cannot set {thing}")
