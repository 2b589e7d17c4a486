"""Running Debian's programs for the lab, and knowing beforehand that they are there."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from provisioner.domain.errors import Refused

OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
OVMF_SECURE_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.ms.fd")
OVMF_SECURE_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
"""With Microsoft's keys enrolled: Secure Boot is on."""

_PROGRAMS = {
    "ip": "iproute2",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ipmi_sim": "openipmi",
}
_FILES = {
    Path("/usr/share/seabios/bios-256k.bin"): "seabios",
    Path("/usr/lib/ipxe/qemu/efi-virtio.rom"): "ipxe-qemu",
}
_UEFI_FILES = dict.fromkeys((OVMF_CODE, OVMF_VARS, OVMF_SECURE_CODE, OVMF_SECURE_VARS), "ovmf")


def run(*argv: str, data: str | None = None, seconds: float = 30) -> str:
    """Run a program to its end and return its stdout. Raises Refused with its own words when it fails."""
    try:
        done = subprocess.run(argv, input=data, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Refused(f"`{' '.join(argv)}` did not end within {seconds:g} s") from None
    except FileNotFoundError:
        raise Refused(f"there is no program {argv[0]!r}", "run `make setup`") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise Refused(f"`{' '.join(argv)}` failed: {said}")
    return done.stdout


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The argument list that runs ``argv`` in a network namespace."""
    return ["ip", "netns", "exec", namespace, *argv]


def check_requirements(*, uefi: bool, further: Iterable[tuple[str, str]] = ()) -> None:
    """Raises Refused that names everything that is missing at once, with the Debian packages that have it.

    ``further``: programs and their packages that this run needs besides.
    """
    problems = [] if os.geteuid() == 0 else ["root (namespaces and bridges need it: run with sudo)"]
    packages: list[str] = []
    for program, package in (*_PROGRAMS.items(), *further):
        if shutil.which(program) is None:
            problems.append(f"program {program}")
            packages.append(package)
    for file, package in (*_FILES.items(), *(_UEFI_FILES.items() if uefi else ())):
        if not file.exists():
            problems.append(f"file {file}")
            packages.append(package)
    # `ip netns` changes how mounts beneath / propagate, which the kernel refuses where / is a mere folder.
    if not problems and not _root_is_a_mount():
        raise Refused(
            "the lab needs a root that is a mount: this is a chroot in a plain folder",
            "`mount --bind DIR DIR` before `chroot DIR`, or use a container or a virtual machine",
        )
    if problems:
        remedy = f"apt install {' '.join(dict.fromkeys(packages))}" if packages else "start it as root"
        raise Refused(f"the lab lacks {', '.join(problems)}", remedy)


def _root_is_a_mount() -> bool:
    """As this process sees it (proc(5): the fifth field of a line is the mount point)."""
    return any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines())
