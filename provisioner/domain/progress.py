"""Is an install moving? Times are UTC microseconds."""

from collections.abc import Mapping

from provisioner.domain.machine import Machine, Phase, State
from provisioner.domain.spoken import MINUTE

QUIET: Mapping[Phase, int] = {
    # A ROM retries DHCP for about a minute, then tries its next boot device.
    Phase.FIRMWARE: 3 * MINUTE,
    # Loader and script are small; iPXE gives up within two minutes.
    Phase.LOADER: 3 * MINUTE,
    # Kernel and initrd are some 500 MB: minutes on a busy gigabit uplink.
    Phase.KERNEL: 6 * MINUTE,
    # The live system has its config; nothing long is left before the first report.
    Phase.CONFIG: 4 * MINUTE,
    Phase.CLOCK: 2 * MINUTE,
    # Reading partition tables of slow or failing disks.
    Phase.DISK: 5 * MINUTE,
    # The image reports each percent, but an old disk may sync for minutes.
    Phase.IMAGE: 10 * MINUTE,
    Phase.PAYLOAD: 10 * MINUTE,
    Phase.WRITTEN: 3 * MINUTE,
    # Servers with much memory take ten minutes from reset to their disk.
    Phase.REBOOT: 15 * MINUTE,
}
"""How long a machine may give no sign of life in a phase before it counts as stuck."""


_NOTHING_RUNS_YET = (Phase.FIRMWARE, Phase.LOADER, Phase.KERNEL)


def nothing_runs_yet(machine: Machine) -> bool:
    """Of its open install: has no live system begun that a switched power would end?"""
    install = machine.install
    return install is not None and (install.phase is None or install.phase in _NOTHING_RUNS_YET)


def hangs_in_boot(machine: Machine, now: int) -> bool:
    """Is it stuck before anything of its install could run, for twice as long as it takes to be called stuck?

    Then switching its power loses nothing, and a slow server is not taken for a dead one. EDK2 never asks again for
    a transfer that broke off; it leaves for its next boot entry after some 24 s.
    """
    install = machine.install
    if install is None or not install.open or install.phase not in _NOTHING_RUNS_YET:
        return False
    return stuck(machine, now) and since_life(machine, now) > 2 * QUIET[install.phase]


def moving(machine: Machine) -> bool:
    """Is an install under way that should show signs of life?"""
    install = machine.install
    if install is None or install.phase is None:
        return False
    if machine.state in (State.ARMED, State.INSTALLING):
        return install.open
    return machine.state is State.INSTALLED and install.outcome == "complete"


def since_life(machine: Machine, now: int) -> int:
    """How long ago the machine last said or did something, as far as the inventory knows."""
    seen = machine.install.phase_at if machine.install else None
    return now - max(seen or 0, machine.state_at)


def stuck(machine: Machine, now: int) -> bool:
    """Has it been silent for longer than its phase may be?"""
    if not moving(machine) or machine.install is None or machine.install.phase is None:
        return False
    return since_life(machine, now) > QUIET.get(machine.install.phase, 10 * MINUTE)
