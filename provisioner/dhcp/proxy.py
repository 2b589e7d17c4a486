"""Beside another DHCP server: boot information only, on port 67 and on 4011 (PXE 2.1 §2.2.3, RFC 4578).

BIOS ROMs take the boot file from the offer if option 43 says so. UEFI's PXE asks on 4011; EDK2 of 2010 to 2017
drops a proxy's offer that carries option 43, so UEFI gets none. iPXE and HTTP boot take the URL from the offer.
"""

from provisioner.dhcp import reply as replies
from provisioner.dhcp.decision import Case, Cause, Decision, firmware_of, phase_of, seen, silent
from provisioner.dhcp.netboot import boot_file
from provisioner.dhcp.options import MessageType
from provisioner.dhcp.question import Client
from provisioner.domain.events import Kind
from provisioner.domain.firmware import Firmware

_ASKS_AGAIN = "on port 4011, where this client asks next"


def offer(case: Case, now: int) -> Decision:
    """What is said on port 67: boot information to a netboot client that looks for servers, nothing else."""
    question = case.question
    if question.client is Client.SYSTEM:
        why = f"ignored: DHCP is proxy on {case.context.interface}, and this is no netboot client"
        return silent(case, f"{why}{'; ' if question.doubt else ''}{question.doubt}", Cause.NOT_NETBOOT)
    if question.type is not MessageType.DISCOVER:
        return silent(case, f"{question.type.name} is for the server that gives addresses", Cause.OTHER_SERVER)
    boot, why = _boot(case)
    if boot is None:
        cause = Cause.UNLISTED if case.machine is None else Cause.NO_ADDRESS
        return silent(case, f"ignored: {why}", cause, effects=seen(case, now))
    later = question.client is Client.PXE and question.firmware is not Firmware.BIOS
    reply, note = replies.proxy_offer(question, case.server_id, None if later else boot, boot.server)
    said = f"looked for a boot server; told {_ASKS_AGAIN}" if later else f"looked for a boot server; {why}"
    return _decided(case, reply, f"{said}{note}", Kind.DHCP_OFFER)._replace(effects=seen(case, now))


def boot_server(case: Case, port: int) -> Decision:
    """What is said on port 4011, to the datagram's source ``port``."""
    question = case.question
    if question.client is Client.SYSTEM:
        return silent(case, "ignored: asked on port 4011 and is no PXE client", Cause.NOT_NETBOOT)
    if question.type not in (MessageType.REQUEST, MessageType.INFORM, MessageType.DISCOVER):
        return silent(case, f"sent {question.type.name} to port 4011", Cause.NOT_A_CLIENT)
    if case.is_for_another_server:
        return silent(case, f"asked the boot server {question.server_id} on port 4011", Cause.OTHER_SERVER)
    boot, why = _boot(case)
    if boot is None:
        return silent(case, f"ignored: {why}", Cause.UNLISTED if case.machine is None else Cause.NO_ADDRESS)
    reply, note = replies.boot_server_ack(question, case.server_id, boot)
    if reply.via is not replies.Via.RELAY:
        # EDK2 asks from 4011 and listens there, not on 68.
        reply = reply._replace(port=port)
    return _decided(case, reply, f"asked the boot server on port 4011; {why}{note}", Kind.DHCP_ACK)


def _boot(case: Case) -> tuple[replies.BootFile | None, str]:
    context = case.context
    return boot_file(case.question, case.plan, context.address, context.http_port, context.loaders, case.machine)


def _decided(case: Case, reply: replies.Reply, reason: str, kind: Kind) -> Decision:
    machine = case.machine
    return Decision(
        reply,
        reason,
        kind,
        machine.id if machine is not None else None,
        case.question.mac,
        phase_of(case.question),
        firmware=firmware_of(case.question),
        switch_port=case.question.switch_port,
    )
