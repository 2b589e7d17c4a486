"""One server of the lab: QEMU with real firmware, boot order network first, powered by its virtual BMC."""

import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from provisioner.domain.errors import Refused
from provisioner.domain.mac import Mac
from provisioner.lab.acceleration import MACHINE
from provisioner.lab.programs import OVMF_CODE, OVMF_SECURE_CODE, OVMF_SECURE_VARS, OVMF_VARS, inside, run

VENDOR = "Provisioner Lab"
PRODUCT = "Virtual Server"


class LabFirmware(StrEnum):
    """What the machine boots with."""

    BIOS = "bios"
    """SeaBIOS and the NIC's own ROM, which is iPXE."""
    UEFI = "uefi"
    """OVMF and its own PXE stack."""
    UEFI_HTTP = "uefi-http"
    """OVMF booting by HTTP at once, because its PXE is switched off."""
    UEFI_SECURE = "uefi-secure"
    """OVMF with Microsoft's keys enrolled and Secure Boot on: only what is signed is started."""


@dataclass(frozen=True)
class Hardware:
    """What the machine is made of."""

    name: str
    firmware: LabFirmware
    mac: Mac
    uuid: UUID
    serial: str
    memory: int = 1024
    """MiB."""
    disk: int = 4
    """GiB, sparse."""
    screen: bool = False
    """A graphics card, for programs that refuse to run without one."""


@dataclass(frozen=True)
class Cabling:
    """Where it is plugged in, and where its files are."""

    directory: Path
    """Its own; holds disk.qcow2, vars.fd, console.log, qemu.log, qmp.sock."""
    namespace: str
    tap: str
    accel: str

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"


def qemu_argv(hardware: Hardware, cabling: Cabling, *, disk_first: bool = False) -> list[str]:
    """The machine as QEMU's arguments."""
    directory = cabling.directory
    network_index, disk_index = (2, 1) if disk_first else (1, 2)
    nic = f"virtio-net-pci,netdev=wire,mac={hardware.mac},bootindex={network_index}"
    argv = [
        *("qemu-system-x86_64", "-name", hardware.name, "-accel", cabling.accel, *MACHINE),
        *("-m", str(hardware.memory), "-nographic", "-no-user-config", "-nodefaults"),
        *("-uuid", str(hardware.uuid)),
        *(
            "-smbios",
            f"type=1,manufacturer={VENDOR},product={PRODUCT},serial={hardware.serial},uuid={hardware.uuid}",
        ),
        *("-chardev", f"file,id=console,path={cabling.console_log},append=on", "-serial", "chardev:console"),
        *("-qmp", f"unix:{directory / 'qmp.sock'},server=on,wait=off", "-no-reboot"),
        *("-device", "virtio-rng-pci"),  # UEFI's network stack and the guest's keys need entropy at once
        *("-netdev", f"tap,id=wire,ifname={cabling.tap},script=no,downscript=no"),
        # Nothing on the disk outlives the lab: no host fsync.
        *("-drive", f"if=none,id=disk,file={directory / 'disk.qcow2'},format=qcow2,cache=unsafe,discard=unmap"),
        *("-device", f"virtio-blk-pci,drive=disk,serial={hardware.serial},bootindex={disk_index}"),
    ]
    if hardware.screen:
        argv += ["-device", "VGA"]
    if hardware.firmware is LabFirmware.BIOS:
        return [*argv, "-device", nic]
    secure = hardware.firmware is LabFirmware.UEFI_SECURE
    code = OVMF_SECURE_CODE if secure else OVMF_CODE
    if secure:
        # This build keeps its keys where only code in system management mode can write.
        argv += ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
    argv += [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={directory / 'vars.fd'}"),
        # An empty ROM: with QEMU's own, iPXE would boot instead of OVMF's stack.
        *("-device", f"{nic},romfile="),
    ]
    if hardware.firmware is LabFirmware.UEFI_HTTP:
        for family in ("IPv4", "IPv6"):
            argv += ["-fw_cfg", f"name=opt/org.tianocore/{family}PXESupport,string=n"]
    return argv


class VirtualMachine:
    """The box: off until its BMC switches it on. Safe to call from several threads."""

    def __init__(self, hardware: Hardware, cabling: Cabling, *, honour_boot_device: bool = False) -> None:
        """``honour_boot_device``: start from the disk when the BMC says so; without it the machine stays network
        first for ever, the harder case, where only the appliance's answer keeps it from installing again."""
        self.hardware = hardware
        self.cabling = cabling
        self.boot_device = "none"
        """As its BMC recorded it: none, pxe or default (the disk)."""
        self._honour = honour_boot_device
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    def build(self) -> None:
        """Make its disk and firmware variables."""
        directory = self.cabling.directory
        directory.mkdir(parents=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", str(directory / "disk.qcow2"), f"{self.hardware.disk}G")
        if self.hardware.firmware is not LabFirmware.BIOS:
            secure = self.hardware.firmware is LabFirmware.UEFI_SECURE
            shutil.copyfile(OVMF_SECURE_VARS if secure else OVMF_VARS, directory / "vars.fd")
        self.cabling.console_log.touch()

    @property
    def on(self) -> bool:
        with self._lock:
            return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """QEMU's, while it is on."""
        with self._lock:
            return self._process.pid if self._process is not None and self.on else None

    def start(self) -> None:
        """Power on; nothing if it is on. Raises Refused with QEMU's words if it does not start."""
        with self._lock:
            if self.on:
                return
            disk_first = self._honour and self.boot_device == "default"
            argv = qemu_argv(self.hardware, self.cabling, disk_first=disk_first)
            log = self.cabling.directory / "qemu.log"
            socket_path = self.cabling.directory / "qmp.sock"
            socket_path.unlink(missing_ok=True)
            with log.open("ab") as errors:
                self._process = subprocess.Popen(
                    inside(self.cabling.namespace, argv),
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,  # Ctrl-C in the terminal is for the lab, not for its machines
                )
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.3)
                said = log.read_text(errors="replace").strip().splitlines()
                raise Refused(f"QEMU for {self.hardware.name} ended at once: {said[-1] if said else 'no word'}")
            threading.Thread(target=self._follow, args=(self._process,), name="lab-reboot", daemon=True).start()

    def stop(self) -> None:
        """Pull the plug; nothing if it is off."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def reset(self) -> None:
        """Press the reset button. Raises Refused when it is off."""
        with self._lock:
            if not self.on:
                raise Refused(f"{self.hardware.name} is off", "power it on")
            self.stop()
            self.start()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Start QEMU anew when the guest reboots.

        A reset within one QEMU would do on hardware. Under TCG the old system's translated code stays, each store
        to a page that held some takes a slow path, and a reset guest unpacked its initrd for 365 s ("soft lockup
        … clear_page_erms") instead of 3.
        """
        rebooted = _reboots(self.cabling.directory / "qmp.sock", process)
        process.wait()
        with self._lock:
            if rebooted and self._process is process:
                self.start()


def _reboots(path: Path, process: subprocess.Popen[bytes]) -> bool:
    """Listen to QEMU (QMP events) until it ends: was it because the guest rebooted?"""
    with socket.socket(socket.AF_UNIX) as qmp:
        while process.poll() is None:
            try:
                qmp.connect(str(path))
                break
            except OSError:
                time.sleep(0.05)  # not listening yet
        try:
            with qmp.makefile("rwb") as lines:
                lines.write(b'{"execute": "qmp_capabilities"}\n')
                lines.flush()
                return any(b'"guest-reset"' in line for line in lines)
        except OSError:
            return False
