"""A rack without a rack: servers with real firmware behind BMCs, on a wire of their own, all powered off."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import RFC_4122, UUID, uuid4

from provisioner.domain.errors import Refused
from provisioner.domain.mac import Mac
from provisioner.lab import record
from provisioner.lab.acceleration import probe
from provisioner.lab.chassis import ChassisServer
from provisioner.lab.machine import PRODUCT, VENDOR, Cabling, Hardware, LabFirmware, VirtualMachine
from provisioner.lab.network import PREFIX, Network
from provisioner.lab.programs import check_requirements
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc

MOST = 50
"""Machines in one rack: BMCs have the addresses from .201 on."""
_BMC_SECONDS = 5.0


@dataclass(frozen=True)
class RackMachine:
    """One server as somebody sees it who stands before the rack. The appliance is told only the ``bmc_`` part."""

    name: str
    firmware: LabFirmware
    mac: Mac
    """The NIC's own; the FRU may lie."""
    bmc_address: str
    bmc_user: str
    bmc_password: str
    console_log: Path
    vm: VirtualMachine
    bmc: VirtualBmc

    def __repr__(self) -> str:
        return f"RackMachine({self.name}, {self.firmware}, {self.mac}, BMC {self.bmc_address})"


class Rack:
    """Build with ``up`` or as a context manager; ``down`` removes every trace and may be called at any time."""

    def __init__(
        self,
        machines: Sequence[str] = ("bios", "uefi"),
        directory: Path | None = None,
        *,
        prefix: IPv4Network = PREFIX,
        honour_boot_device: bool = False,
        wrong_mac: Collection[int] = (),
    ) -> None:
        """``machines``: a firmware each (a LabFirmware value). ``directory``: kept afterwards, with the logs;
        None makes one that goes with the rack. ``wrong_mac``: indexes of the machines whose FRU lies."""
        if not 1 <= len(machines) <= MOST:
            raise Refused(f"a rack of {len(machines)} machines cannot be built", f"ask for 1 to {MOST}")
        self.firmwares = [LabFirmware(firmware) for firmware in machines]
        self.name = f"pl{os.getpid()}-{secrets.token_hex(2)}"
        self.network = Network(self.name, prefix)
        self.machines: list[RackMachine] = []
        self.directory = directory or Path()
        self._ours = directory is None
        self._honour = honour_boot_device
        self._wrong = wrong_mac
        self._chassis: ChassisServer | None = None

    def up(self) -> Self:
        """Raises Refused that names what is missing; a rack half built is taken down again."""
        check_requirements(uefi=any(firmware is not LabFirmware.BIOS for firmware in self.firmwares))
        record.take_down_leftovers()
        if self._ours:
            # Short: Unix sockets' paths end at 107 characters.
            self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        record.write(self.name, self.network.namespaces, self.directory, ours=self._ours)
        try:
            self._build()
        except BaseException:
            self.down()
            raise
        return self

    def _build(self) -> None:
        self.network.up()
        accel = probe(self.directory)
        vms: dict[str, VirtualMachine] = {}
        user, password = "lab", secrets.token_hex(8)
        # Local administration bit set, as QEMU's 52:54:00; three bytes of chance keep two labs apart in logs.
        stem = bytes.fromhex("525400") + secrets.token_bytes(2)
        self._chassis = ChassisServer(vms, self.directory / "chassis.sock")
        for index, firmware in enumerate(self.firmwares):
            number = index + 1
            hardware = Hardware(
                f"{firmware}-{number}",
                firmware,
                Mac.from_wire(stem + bytes([number])),
                _plain_uuid(),
                f"LAB{number:05d}",
            )
            directory = self.directory / hardware.name
            cabling = Cabling(directory, self.network.wire, self.network.add_tap(index), accel)
            vm = VirtualMachine(hardware, cabling, honour_boot_device=self._honour)
            vm.build()
            vms[hardware.name] = vm
            told = Mac.from_wire(bytes([2, *hardware.mac[1:]])) if index in self._wrong else hardware.mac
            bmc = VirtualBmc(
                Nameplate(VENDOR, PRODUCT, hardware.serial, hardware.uuid, told),
                self.network.add_bmc(index),
                namespace=self.network.bmcs,
                directory=directory / "bmc",
                user=user,
                password=password,
                chassis=self._chassis.program(hardware.name, directory / "chassis"),
            )
            address = str(bmc.address)
            self.machines.append(
                RackMachine(
                    *(hardware.name, firmware, hardware.mac, address, user, password, cabling.console_log, vm, bmc)
                )
            )
        self._chassis.start()
        until = time.monotonic() + _BMC_SECONDS
        for machine in self.machines:
            machine.bmc.start()
        for machine in self.machines:
            machine.bmc.wait(until)

    def down(self) -> None:
        """Power everything off and remove it: processes, taps, namespaces, files. Safe to call twice."""
        for machine in self.machines:
            machine.vm.stop()
            machine.bmc.stop()
        if self._chassis is not None:
            self._chassis.stop()
        mine = [lab for lab in record.labs() if lab.name == self.name]
        for lab in mine:
            record.take_down(lab)
        if self._ours and self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def _plain_uuid() -> UUID:
    """A random one that is no real UUID in another byte order, so that nobody has to guess how a BMC sends it."""
    while True:
        uuid = uuid4()
        others = (UUID(bytes=uuid.bytes_le), UUID(bytes=uuid.bytes_le[::-1]))
        if not any(other.variant == RFC_4122 and other.version in range(1, 6) for other in others):
            return uuid
