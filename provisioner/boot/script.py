"""The iPXE scripts: one for each thing a boot can lead to.

Pure text. Whatever comes from data is either refused (``ipxe_argument``) or, on screens, made harmless
(``screen_text``): iPXE expands ``${`` even inside quotes. ``@@SERVER@@`` and ``@@INSTALL_TOKEN@@`` are filled
in when a script is served.
"""

import textwrap

from provisioner.boot.quoting import screen_text
from provisioner.boot.release import Netboot
from provisioner.domain.boot import Action, BootPlan
from provisioner.domain.tokens import SERVER

TRIES = 5
"""Fetches of kernel and initrd before the machine restarts and asks anew."""


def install_script(machine: str, role: str, boot: Netboot, command_line: str, *, in_memory: bool = False) -> str:
    """Fetch kernel and initrd and start them; a fetch that fails is tried again, then the machine restarts."""
    release, does = boot.release, "boots into memory" if in_memory else "installs"
    return _script(
        *_say(f"{machine} {does} role {role} from {release.image} {release.version}"),
        "set tries:int32 0",
        ":fetch",
        "imgfree",
        " ".join(("kernel", f"{release.url}/{boot.kernel}", *command_line.split(), "|| goto retry")),
        *(f"initrd {release.url}/{name} || goto retry" for name in boot.initrds),
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


_ASKED = (
    *(f"net{n}=${{net{n}/mac:hexhyp}}" for n in range(8)),
    "uuid=${uuid}",
    "manufacturer=${manufacturer:uristring}",
    "product=${product:uristring}",
    "serial=${serial:uristring}",
)


def discover_script(reason: str) -> str:
    """Let the loader tell what the machine is made of; the answer is what it boots next."""
    query = "&".join(("mac=${mac:hexhyp}", *_ASKED))
    return _script(
        *_say(reason),
        f"chain http://{SERVER}/discovered?{query} ||",
        *_say("the appliance did not take what this machine told of itself; again in 1 minute"),
        "sleep 60",
        "reboot",
    )


def discovery_script(boot: Netboot, command_line: str) -> str:
    """Start the live system of the role that discovers."""
    release = boot.release
    return _script(
        *_say(f"looks at this machine with {release.image} {release.version}"),
        "imgfree",
        f"kernel {release.url}/{boot.kernel} {command_line} || goto failed",
        *(f"initrd {release.url}/{name} || goto failed" for name in boot.initrds),
        "boot || goto failed",
        ":failed",
        *_say("the discovery system could not be loaded; again in 1 minute"),
        "sleep 60",
        "reboot",
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
        case Action.DISCOVER:
            return discover_script(plan.reason).encode()
        case Action.RESCUE | Action.EXPLAIN:
            # A rescue is compiled for its machine; this is the screen where none could be.
            return explain_script(plan.reason).encode()


def _script(*lines: str) -> str:
    return "\n".join(("#!ipxe", *lines)) + "\n"


def _say(text: str, *, trusted: bool = False) -> list[str]:
    """``echo`` lines that fit a screen of 80 columns. ``trusted`` text may use iPXE's settings."""
    text = text if trusted else screen_text(text)
    return [f"echo Provisioner: {line}" for line in textwrap.wrap(text, 64, break_on_hyphens=False)]
