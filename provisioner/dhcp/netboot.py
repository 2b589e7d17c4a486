"""What a netboot client is given to load: a loader for its firmware, or, once that is iPXE, the boot script."""

from ipaddress import IPv4Address

from provisioner.dhcp.question import Client, Question
from provisioner.dhcp.reply import BootFile
from provisioner.domain.boot import LOADER_LABEL, TFTP_ONLY, Action, BootPlan, loader_for
from provisioner.domain.firmware import Firmware
from provisioner.domain.machine import Machine

_SYSTEM = Client.SYSTEM
"""Most clients are; to find a member of an enum takes longer than the comparison."""


def boot_file(
    question: Question,
    plan: BootPlan,
    server: IPv4Address,
    http_port: int,
    loaders: frozenset[str],
    machine: Machine | None = None,
) -> tuple[BootFile | None, str]:
    """What the client loads next from ``server``, and why; a system is told nothing about booting.

    ``loaders``: file names of the loaders that are there. None: no boot file, for the reason given.
    """
    if question.client is _SYSTEM:
        return None, question.doubt
    if plan.action in (Action.NOTHING, Action.ADDRESS_ONLY):
        return None, f"no boot file: {plan.reason}"
    base = f"http://{server}" + (f":{http_port}" if http_port != 80 else "")
    if question.client is Client.IPXE:
        # A binary would make iPXE load itself again, for ever. It expands settings in the name that it is given
        # (usr/autoboot.c, expand_settings), so the machine's own identity comes along.
        url = (
            f"{base}/boot.ipxe?mac={question.mac.hexhyp}&uuid=${{uuid}}&serial=${{serial:uristring}}"
            f"&arch={question.firmware}"
        )
        return BootFile(url, server), f"boot script because it is iPXE on {question.firmware}"
    loader, why = _loader(question, loaders, machine.labels.get(LOADER_LABEL, "") if machine else "")
    if loader is None:
        return None, f"no boot file: {why}"
    if question.client is Client.HTTP:
        return BootFile(f"{base}/loaders/{loader}", server), f"{why}, by HTTP"
    return BootFile(loader, server), why


def _loader(question: Question, loaders: frozenset[str], wanted: str) -> tuple[str | None, str]:
    if question.firmware is not Firmware.UNKNOWN:
        loader, why = loader_for(question.firmware, loaders, wanted)
        if question.client is Client.HTTP and loader in TFTP_ONLY:
            return None, f"what {loader} starts reads by TFTP only; let the machine boot by PXE"
        return loader, why
    if question.architectures:
        return None, f"no loader exists for architecture {', '.join(map(str, question.architectures))}"
    return None, "it names no architecture (option 93)"
