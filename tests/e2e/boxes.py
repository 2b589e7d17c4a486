"""A machine of real firmware on a test wire, without a BMC: the test switches it on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioner.lab.machine import Cabling, Hardware, VirtualMachine
from tests.netns import Wire, sh

PATIENCE = 400.0
"""Seconds; firmware and a system in memory under emulation, on a machine that is busy."""


@contextmanager
def box(on: Wire, folder: Path, hardware: Hardware, tap: str = "tap0") -> Iterator[VirtualMachine]:
    """Switched on; off and unplugged afterwards. Its files are below ``folder``, by its name."""
    sh("ip", "-n", on.server, "tuntap", "add", tap, "mode", "tap")
    sh("ip", "-n", on.server, "link", "set", tap, "master", "br0", "up")
    made = VirtualMachine(hardware, Cabling(folder / hardware.name, on.server, tap, "tcg,thread=multi"))
    made.build()
    made.start()
    try:
        yield made
    finally:
        made.stop()
        sh("ip", "-n", on.server, "link", "del", tap)


def console(machine: VirtualMachine) -> str:
    """All that its serial port has said."""
    return machine.cabling.console_log.read_text(errors="replace")
