"""GRUB's configs: what ``boot.ipxe`` is to iPXE, for machines that shim and GRUB start (Secure Boot, ARM64).

Debian's signed GRUB reads by TFTP only (its http module is not built in, and a locked-down GRUB loads none), and
TFTP proves little about who asks: no token is in these. The live system fetches its first config from
``/boot/pxe.yml`` (or ``pxe.ign``), where its address and MAC are checked and its boot is counted.

Pure text. GRUB interprets nothing between single quotes (GRUB manual, "Quoting"); words that hold one are refused
before (``ipxe_argument``). It has no arithmetic: tries are listed.
"""

import re
import textwrap

from provisioner.boot.quoting import screen_text
from provisioner.boot.release import MAX_COMMAND_LINE, Netboot
from provisioner.boot.script import TRIES
from provisioner.domain.boot import Action, BootPlan
from provisioner.domain.errors import Refused
from provisioner.domain.tokens import INSTALL_TOKEN, SERVER

FORMATS = ("cloud-config", "butane", "ignition")
"""Whose first config has a URL of its own on the kernel line, so that it can carry the machine's identity."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+=-]+\Z")
_SERIAL_LENGTH = 64
_IDENTITY = "?mac=${net_default_mac}&uuid=${uuid}&serial=${serial}&arch=${arch}"
_IDENTITY_LENGTH = len("?mac=&uuid=&serial=&arch=uefi-arm64") + 17 + 36 + _SERIAL_LENGTH
_DISK_LOADERS = (
    "/EFI/flatcar/grub$cpu.efi",
    "/EFI/coreos/grub$cpu.efi",
    "/EFI/fedora/shim$cpu.efi",
    "/EFI/debian/shim$cpu.efi",
    "/EFI/ubuntu/shim$cpu.efi",
    "/EFI/boot/boot$cpu.efi",
)
"""As in ``localboot-x64.efi``: installed systems' own loaders, then the name for removable media."""


def install_config(machine: str, role: str, boot: Netboot, command_line: str) -> str:
    """Fetch kernel and initrd and start them; a fetch that fails is tried again, then the machine restarts.

    ``command_line``: as iPXE would pass it; the config's URL in it is replaced by one without a token, which
    carries the machine's own MAC, UUID and serial number (left out when a URL gives its characters a meaning).
    Raises Refused when that could get longer than the kernel takes.
    """
    base = f"/images/{boot.release.image}/{boot.release.version}"
    words = [_word(word) for word in command_line.split(" ") if not word.startswith("initrd=")]
    if (length := len(" ".join(words)) + _IDENTITY_LENGTH) > MAX_COMMAND_LINE:
        raise Refused(
            f"the kernel line may get {length} characters with what GRUB adds, kernels take {MAX_COMMAND_LINE}",
            "shorten `kernel_arguments` in the role",
        )
    return _config(
        *_say(f"{machine} installs role {role} from {boot.release.image} {boot.release.version}"),
        "set arch=uefi-x64",
        'if [ "$grub_cpu" = arm64 ]; then set arch=uefi-arm64; fi',
        "smbios --type 1 --get-uuid 8 --set uuid",
        "smbios --type 1 --get-string 7 --set serial",
        f"if regexp '^[A-Za-z0-9._-]{{1,{_SERIAL_LENGTH}}}$' \"$serial\"; then true; else set serial=; fi",
        f"for try in {' '.join(map(str, range(1, TRIES + 1)))}; do",
        f"if linux (tftp,{SERVER}){base}/{boot.kernel} {' '.join(words)}; then",
        f"if initrd {' '.join(f'(tftp,{SERVER}){base}/{name}' for name in boot.initrds)}; then",
        "boot",
        "fi",
        "fi",
        f'echo "Provisioner: kernel or initrd could not be started (try $try of {TRIES}); again in 10 seconds"',
        *_say("a kernel that is not signed for this firmware's keys is refused while Secure Boot is on"),
        "sleep 10",
        "done",
        *_say("gave up; restarting in 10 seconds"),
        "sleep 10",
        "reboot",
    )


def config_for(plan: BootPlan, install: bytes | None = None) -> bytes:
    """The config of a decision. ``install``: the compiled ``boot.grub``, needed for Action.INSTALL."""
    match plan.action:
        case Action.INSTALL:
            if install is None:
                raise ValueError("an install without a compiled boot.grub")
            return install
        case Action.DISK:
            lines = _disk(plan.reason)
        case Action.POWER_OFF:
            lines = [*_say(plan.reason), *_say("switching off"), "sleep 5", "halt"]
        case Action.ADDRESS_ONLY | Action.NOTHING:
            lines = [*_say(plan.reason), "sleep 3", "exit 1"]
        case Action.DISCOVER | Action.RESCUE | Action.EXPLAIN:
            lines = [
                *_say("this machine is not booted, because:"),
                *_say(plan.reason),
                *_say("it asks again in 5 minutes"),
                "sleep 300",
                "reboot",
            ]
    return _config(*lines).encode()


def _disk(reason: str) -> list[str]:
    return [
        *_say(reason),
        "set cpu=x64",
        'if [ "$grub_cpu" = arm64 ]; then set cpu=aa64; fi',
        f"for loader in {' '.join(_DISK_LOADERS)}; do",
        "if search --no-floppy --file --set=root $loader; then",
        'echo "Provisioner: starting ($root)$loader"',
        # While Secure Boot is on, one that is not signed is refused here, and the next is tried.
        "if chainloader ($root)$loader; then",
        "boot",
        "fi",
        "fi",
        "done",
        *_say("no disk has a UEFI loader that may be started; the firmware goes on in 10 seconds"),
        "sleep 10",
        "exit 1",
    ]


def _word(text: str) -> str:
    """One of the kernel's words. What holds the token becomes the URL that knows the machine by its address."""
    if INSTALL_TOKEN in text:
        return f'"{text.replace(f"/b/{INSTALL_TOKEN}/", "/boot/")}{_IDENTITY}"'
    return text if _PLAIN.match(text) else f"'{text}'"


def _config(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _say(text: str) -> list[str]:
    """``echo`` lines that fit a screen of 80 columns."""
    return [f"echo 'Provisioner: {line}'" for line in textwrap.wrap(screen_text(text), 64, break_on_hyphens=False)]
