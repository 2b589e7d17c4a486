"""The iPXE scripts: one for each thing a boot can lead to.

Pure text. Whatever comes from data is either refused (``ipxe_argument``) or, on screens, made harmless
(``screen_text``): iPXE expands ``${`` even inside quotes. ``@@SERVER@@`` and ``@@INSTALL_TOKEN@@`` are filled
in when a script is served.
"""

import textwrap
from dataclasses import dataclass

from provisioner.boot.quoting import ipxe_argument, screen_text
from provisioner.domain.boot import Action, BootPlan
from provisioner.domain.errors import Refused
from provisioner.domain.tokens import INSTALL_TOKEN, SERVER

TRIES = 5
"""Fetches of kernel and initrd before the machine restarts and asks anew."""
MAX_COMMAND_LINE = 2047
"""x86 kernels cut a longer line (COMMAND_LINE_SIZE 2048) without a word."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a netboot image, with the names of its files."""

    image: str
    version: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a family of CoreOS calls its files and its kernel arguments."""

    kernel: str
    initrd: str
    disk_image: str
    first_boot: str
    autologin: str


FLAVOURS = (
    Flavour(
        "flatcar_production_pxe.vmlinuz",
        "flatcar_production_pxe_image.cpio.gz",
        "flatcar_production_image.bin.bz2",
        "flatcar.first_boot=1",
        "flatcar.autologin",
    ),
    Flavour(
        "coreos_production_pxe.vmlinuz",
        "coreos_production_pxe_image.cpio.gz",
        "coreos_production_image.bin.bz2",
        "coreos.first_boot=1",
        "coreos.autologin",
    ),
)


def flavour_of(release: Release) -> Flavour:
    """The family whose files the release holds. Raises Refused, naming the files that are missing."""
    for flavour in FLAVOURS:
        if flavour.kernel in release.files:
            needed = (flavour.kernel, flavour.initrd, flavour.disk_image)
            if missing := [name for name in needed if name not in release.files]:
                raise Refused(
                    f"image {release.image} {release.version} lacks {', '.join(missing)}",
                    f"import it whole: `provisioner image import DIR --name {release.image}`",
                )
            return flavour
    raise Refused(
        f"image {release.image} {release.version} has no kernel that can be netbooted for a cloud-config",
        f"it needs one of: {', '.join(flavour.kernel for flavour in FLAVOURS)}",
    )


def kernel_line(release: Release, arguments: tuple[str, ...], *, autologin: bool) -> str:
    """The kernel's command line. Raises Refused when it is longer than the kernel takes."""
    flavour = flavour_of(release)
    words = (
        # Without initrd=NAME a UEFI kernel has no root; BIOS kernels don't mind (facts: UEFI and initrd).
        f"initrd={flavour.initrd}",
        flavour.first_boot,
        *((flavour.autologin,) if autologin else ()),
        f"cloud-config-url=http://{SERVER}/b/{INSTALL_TOKEN}/pxe.yml",
        *arguments,
    )
    line = " ".join(ipxe_argument(word) for word in words)
    if len(line) > MAX_COMMAND_LINE:
        raise Refused(
            f"the kernel line has {len(line)} characters, kernels take {MAX_COMMAND_LINE}",
            "shorten `kernel_arguments` in the role",
        )
    return line


def install_script(machine: str, role: str, release: Release, command_line: str) -> str:
    """Fetch kernel and initrd and start them; a fetch that fails is tried again, then the machine restarts."""
    flavour = flavour_of(release)
    base = f"http://{SERVER}:8081/images/{ipxe_argument(release.image)}/{ipxe_argument(release.version)}"
    return _script(
        *_say(f"{machine} installs role {role} from {release.image} {release.version}"),
        "set tries:int32 0",
        ":fetch",
        "imgfree",
        f"kernel {base}/{flavour.kernel} {command_line} || goto retry",
        f"initrd {base}/{flavour.initrd} || goto retry",
        "boot || goto retry",
        ":retry",
        "inc tries",
        f"iseq ${{tries}} {TRIES} && goto give_up ||",
        *_say(
            f"kernel or initrd could not be loaded (try ${{tries}} of {TRIES}); again in 10 seconds", trusted=True
        ),
        "sleep 10",
        "goto fetch",
        ":give_up",
        *_say("gave up; restarting in 10 seconds. Is the image server on port 8081 reachable?"),
        "sleep 10",
        "reboot",
    )


def disk_script(reason: str) -> str:
    """Boot the machine's own disk, on either firmware."""
    return _script(
        *_say(reason),
        "imgfree",
        "iseq ${platform} efi && goto efi ||",
        "sanboot --no-describe --drive 0x80 || goto failed",
        ":efi",
        # A bare exit opens OVMF's menu, exit 1 walks through all network entries: the chain comes first.
        f"chain http://{SERVER}/loaders/localboot-x64.efi || goto failed",
        ":failed",
        *_say("the disk does not boot; the firmware goes on with its next entry in 10 seconds"),
        "sleep 10",
        "exit 1",
    )


def explain_script(reason: str) -> str:
    """A screen that says why nothing boots, and asks again after five minutes."""
    return _script(
        *_say("this machine is not booted, because:"),
        *_say(reason),
        *_say("it asks again in 5 minutes"),
        "sleep 300",
        "reboot",
    )


def power_off_script(reason: str) -> str:
    """Switch off. iPXE builds without ``poweroff`` (Debian's) hold a screen, so that nothing is booted."""
    return _script(
        *_say(reason),
        *_say("switching off"),
        "sleep 5",
        "poweroff || goto hold",
        ":hold",
        *_say("this loader cannot switch the machine off; switch it off by its BMC"),
        "sleep 86400",
        "goto hold",
    )


def nothing_script(reason: str) -> str:
    """Leave the network boot; the firmware goes on with its next entry."""
    return _script(*_say(reason), "sleep 3", "exit 1")


def script_for(plan: BootPlan, install: bytes | None = None) -> bytes:
    """The script of a decision. ``install``: the compiled ``boot.ipxe``, needed for Action.INSTALL."""
    match plan.action:
        case Action.INSTALL:
            if install is None:
                raise ValueError("an install without a compiled boot.ipxe")
            return install
        case Action.DISK:
            return disk_script(plan.reason).encode()
        case Action.POWER_OFF:
            return power_off_script(plan.reason).encode()
        case Action.ADDRESS_ONLY | Action.NOTHING:
            return nothing_script(plan.reason).encode()
        case Action.DISCOVER | Action.RESCUE | Action.EXPLAIN:
            # Neither a discovery nor a rescue system exists yet; the screen names what led here.
            return explain_script(plan.reason).encode()


def _script(*lines: str) -> str:
    return "\n".join(("#!ipxe", *lines)) + "\n"


def _say(text: str, *, trusted: bool = False) -> list[str]:
    """``echo`` lines that fit a screen of 80 columns. ``trusted`` text may use iPXE's settings."""
    text = text if trusted else screen_text(text)
    return [f"echo Provisioner: {line}" for line in textwrap.wrap(text, 64, break_on_hyphens=False)]
