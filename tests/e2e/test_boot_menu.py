"""A person at the console of a real firmware: iPXE shows the menu, waits, asks for the password, and is judged."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.machine import Cabling, Hardware, LabFirmware, VirtualMachine, qemu_argv
from provisioner.lab.programs import inside
from tests.e2e.appliance import Appliance, serving, wait_for
from tests.netns import Wire, sh, wire

pytestmark = [pytest.mark.system, pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(900)]

MAC = Mac.parse("52:54:00:97:aa:01")
IP = "10.97.0.17"
PASSWORD = "blue horse 7"
LAB_IMAGE = Path(__file__).parents[2] / "netboot_assets" / "build" / "images" / "flatcar" / "lab"
PATIENCE = 240.0
"""Firmware under TCG on a machine that is busy."""
KEYS = {" ": "spc", "\n": "ret", "v": "down"}


class Console:
    """Keys to, and text from, a machine that is switched on."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "console.log"
        self._qmp = socket.socket(socket.AF_UNIX)
        wait_for("QEMU's monitor", lambda: self._connected(directory / "keys.sock"), 30)
        self._lines = self._qmp.makefile("rwb")
        self._say({"execute": "qmp_capabilities"})

    def _connected(self, path: Path) -> bool:
        with suppress(OSError):
            self._qmp.connect(str(path))
            return True
        return False

    def _say(self, command: dict[str, object]) -> None:
        self._lines.write(json.dumps(command).encode() + b"\n")
        self._lines.flush()

    def press(self, *codes: str) -> None:
        """One after the other, as fingers do: a BIOS has a buffer of sixteen."""
        for code in codes:
            self._say({"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": code}]}})
            time.sleep(0.3)

    def type(self, text: str) -> None:
        self.press(*(KEYS.get(letter, letter) for letter in text))

    def shows(self, text: str, times: int = 1) -> None:
        """Wait until it was printed so many times."""
        wait_for(f"{text!r} on the console", lambda: self.text().count(text) >= times, PATIENCE)

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        self._lines.close()
        self._qmp.close()


@contextmanager
def switched_on(on: Wire, directory: Path) -> Iterator[Console]:
    """A machine with SeaBIOS and iPXE in its NIC, and somebody in front of it."""
    hardware = Hardware("node-1", LabFirmware.BIOS, MAC, UUID(int=0xC4C1C0DE97), "SN-97", memory=512)
    cabling = Cabling(directory, on.server, "tap0", "tcg,thread=multi")
    VirtualMachine(hardware, cabling).build()
    argv = [*qemu_argv(hardware, cabling), "-qmp", f"unix:{directory / 'keys.sock'},server=on,wait=off"]
    process = subprocess.Popen(inside(on.server, argv), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        console = Console(directory)
        try:
            yield console
        finally:
            console.close()
    finally:
        process.kill()
        process.wait(10)


def told(appliance: Appliance, words: str) -> Callable[[], bool]:
    return lambda: any(words in message for message in appliance.messages("node-1"))


def test_the_menu_waits_asks_and_obeys_the_server(tmp_path: Path) -> None:
    with wire("10.97.0.1/24") as on, serving(on, tmp_path) as appliance:
        sh("ip", "-n", on.server, "tuntap", "add", "tap0", "mode", "tap")
        sh("ip", "-n", on.server, "link", "set", "tap0", "master", "br0", "up")
        appliance.run("image", "import", str(LAB_IMAGE), "--name", "flatcar")
        appliance.run("subnet", "add", "10.97.0.0/24", "--gateway", "10.97.0.1")
        appliance.run("machine", "add", "--name", "node-1", "--mac", str(MAC), "--ip", IP, "--role", "simple")
        menu = ("subnet", "set", "10.97.0.0/24", "--menu", "rescue;worker")
        appliance.run(*menu, "--menu-seconds", "3", "--menu-password-stdin", data=f"{PASSWORD}\n")

        with switched_on(on, tmp_path / "unattended") as console:
            console.shows("Provisioner: node-1")
            wait_for("what is assigned", told(appliance, "gets disk because ready"), PATIENCE)

        appliance.run("subnet", "set", "10.97.0.0/24", "--menu-seconds", "600")
        with switched_on(on, tmp_path / "attended") as console:
            console.shows("worker: ")
            console.type("v\n")
            console.shows("Password")
            console.type("\nguess\n")
            wait_for("the refusal", told(appliance, "chose rescue at the console with a wrong password"), PATIENCE)
            console.shows("wrong password")
            assert appliance.ask("machine", "show", "node-1")["state"] == "ready"
            console.shows("worker: ", times=2)
            console.type("vv\n")
            console.shows("Password", times=2)
            console.type(f"\n{PASSWORD}\n")
            wait_for("the choice", told(appliance, "worker was chosen at the console"), PATIENCE)
            wait_for("the boot", told(appliance, "gets install because armed for role worker"), PATIENCE)
            shown = appliance.ask("machine", "show", "node-1")
            assert (shown["role"], shown["state"] in ("armed", "installing")) == ("worker", True)
            assert not told(appliance, "guess")()
