"""Does KVM work here? A tiny guest with a time limit tells: with /dev/kvm there, guests may still crash or hang."""

import subprocess
from pathlib import Path

TCG = "tcg,thread=multi"
KVM = "kvm"
MACHINE = ("-machine", "q35", "-cpu", "max")
"""Board and processor of every machine of the lab."""
_SECONDS = 3.0

# A boot sector that writes 0x10 to port 0xf4 and halts; QEMU's isa-debug-exit makes of n the exit code 2n + 1.
_BOOT_SECTOR = bytes.fromhex("b010e6f4faf4").ljust(510, b"\0") + b"\x55\xaa"
_EXIT = 0x21


def probe(directory: Path) -> str:
    """QEMU's ``-accel`` value for this host. The answer is kept in ``directory``."""
    answer = directory / "acceleration"
    if not answer.exists():
        answer.write_text(KVM if kvm_works(directory) else TCG)
    return answer.read_text()


def kvm_works(directory: Path, qemu: str = "qemu-system-x86_64", device: Path = Path("/dev/kvm")) -> bool:
    """True if a guest under KVM runs its first instructions within three seconds."""
    if not device.exists():
        return False
    disk = directory / "kvm-probe.img"
    disk.write_bytes(_BOOT_SECTOR)
    try:
        done = subprocess.run(
            [
                # As the lab's machines, because it may be the processor model that KVM cannot do.
                *(qemu, "-accel", KVM, *MACHINE, "-m", "16", "-display", "none", "-no-user-config", "-nodefaults"),
                *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
                *("-drive", f"file={disk},format=raw,if=ide"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    finally:
        disk.unlink()
    return done.returncode == _EXIT
