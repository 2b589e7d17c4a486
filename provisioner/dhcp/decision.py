"""What a decision is made from, what it consists of, and the sentences that all of them end in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import NamedTuple
from uuid import UUID

from provisioner.dhcp import reply as replies
from provisioner.dhcp.leases import Effect, LeaseBook, Sight
from provisioner.dhcp.netboot import boot_file
from provisioner.dhcp.options import MessageType
from provisioner.dhcp.packet import NOWHERE
from provisioner.dhcp.question import Client, Question
from provisioner.dhcp.reply import Reply
from provisioner.domain.boot import Action, BootPlan
from provisioner.domain.events import Kind, Sighting
from provisioner.domain.firmware import Firmware
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Machine, Phase
from provisioner.domain.option_set import NO_OPTIONS, OptionSet
from provisioner.domain.subnet import Subnet, UnknownPolicy


class Mode(StrEnum):
    """What the appliance is on a segment."""

    AUTHORITATIVE = "authoritative"
    """The DHCP server."""
    PROXY = "proxy"
    """Boot files beside somebody else's DHCP server."""
    OFF = "off"


class Cause(StrEnum):
    """Why a packet was answered or not, for counting; the decision's sentence says it in full."""

    ANSWERED = "answered"
    NOTED = "noted"
    """RELEASE and DECLINE have no answer."""
    MALFORMED = "malformed"
    NOT_A_CLIENT = "not-a-client"
    """An answer, or a message that only servers send."""
    NO_ETHERNET_ADDRESS = "no-ethernet-address"
    INCOMPLETE = "incomplete"
    """The question lacks what its answer depends on."""
    OFF = "off"
    NOT_NETBOOT = "not-netboot"
    """Beside another server only netboot clients are answered."""
    NO_SUBNET = "no-subnet"
    UNLISTED = "unlisted"
    RETIRED = "retired"
    OTHER_SERVER = "other-server"
    NO_ADDRESS = "no-address"
    HELD_BACK = "held-back"
    """Another device answers on the address."""
    NO_LEASE = "no-lease"
    """Somebody comes back with an address that we know nothing of."""
    NO_POOL = "no-pool"
    POOL_EMPTY = "pool-empty"
    TOO_MANY_NEW = "too-many-new"
    NOT_DURABLE = "not-durable"
    """The lease could not be written, so it was not given."""
    UNSENT = "unsent"
    """The answer could not be sent."""
    SHED = "shed"
    """Too many packets of unlisted clients; listed ones come first."""


@dataclass(frozen=True, slots=True)
class Context:
    """The interface that a packet came in by, and what the appliance has to offer there."""

    interface: str
    address: IPv4Address
    """Ours on this interface: server identifier, next server, and the host of the URLs."""
    ifindex: int = 0
    others: frozenset[IPv4Address] = frozenset()
    """Our addresses elsewhere: a client that names one of them as its server means us."""
    mode: Mode = Mode.AUTHORITATIVE
    loaders: frozenset[str] = frozenset()
    """File names of the loaders that are there."""
    http_port: int = 80
    """Of the machines' web app."""
    held_back: frozenset[IPv4Address] = frozenset()
    """Addresses that were declined a moment ago."""
    role_options: Callable[[str], OptionSet] = field(default=lambda _role: NO_OPTIONS, compare=False, repr=False)
    """What a role states beyond its subnet's options."""
    leases: LeaseBook = field(default_factory=LeaseBook, compare=False, repr=False)
    """The pools' addresses; decisions read it, the server changes it."""


class Decision(NamedTuple):
    """What to send, what to remember, and the sentence for the timeline."""

    reply: Reply | None
    reason: str
    kind: Kind
    machine_id: UUID | None = None
    mac: Mac | None = None
    phase: Phase | None = None
    effects: tuple[Effect, ...] = ()
    firmware: Firmware | None = None
    """Of a netboot client that named one we know."""
    cause: Cause = Cause.ANSWERED
    switch_port: str = ""
    """Where a relay says that the client is plugged in."""


class Case(NamedTuple):
    """A question in a subnet of ours, with everything that its answer depends on."""

    question: Question
    context: Context
    machine: Machine | None
    """None: the MAC is not listed."""
    subnet: Subnet
    plan: BootPlan
    address: IPv4Address | None
    """Reserved for this NIC in this subnet."""
    server_id: IPv4Address

    @property
    def is_for_another_server(self) -> bool:
        named = self.question.server_id
        return (
            named is not None
            and named not in (self.context.address, self.server_id)
            and named not in self.context.others
        )


# Compared with for every packet: to find a member of an enum takes longer than the comparison.
_UNKNOWN, _INSTALL = Firmware.UNKNOWN, Action.INSTALL
_KINDS = {MessageType.OFFER: Kind.DHCP_OFFER, MessageType.ACK: Kind.DHCP_ACK}


def granted(
    case: Case, kind: MessageType, address: IPv4Address, done: str, effects: tuple[Effect, ...] = ()
) -> Decision:
    """An OFFER or ACK, with the boot file that the plan leads to."""
    question, context, machine = case.question, case.context, case.machine
    plan = case.plan
    if plan.action is _INSTALL and address != case.address:
        # Its files are given out at the reserved address only; another NIC of the machine has that one.
        plan = BootPlan(Action.ADDRESS_ONLY, f"{plan.reason}, but only at its reserved address")
    boot, why = boot_file(question, plan, context.address, context.http_port, context.loaders, machine)
    name = machine.name if machine is not None and address == case.address else ""
    reply, note = replies.grant(question, kind, address, case.server_id, case.subnet, name, boot, _stated(case))
    return Decision(
        reply,
        f"{done}{', ' if why else ''}{why}{note}",
        _KINDS[kind],
        machine.id if machine is not None else None,
        question.mac,
        phase_of(question),
        effects,
        firmware_of(question),
        switch_port=question.switch_port,
    )


def _stated(case: Case) -> OptionSet:
    """The option sets that hold for this client; the narrower wins: subnet, role, machine."""
    machine, wide = case.machine, case.subnet.options
    if machine is None:
        return wide
    slot = machine.slot
    role = case.context.role_options(slot.role) if slot.role else NO_OPTIONS
    return {**wide, **role, **slot.options} if role or slot.options else wide


def refused(case: Case, reason: str) -> Decision:
    """A NAK that says why."""
    return Decision(
        replies.nak(case.question, case.server_id, reason),
        reason,
        Kind.DHCP_NAK,
        case.machine.id if case.machine is not None else None,
        case.question.mac,
        firmware=firmware_of(case.question),
        switch_port=case.question.switch_port,
    )


def silent(
    case: Case,
    reason: str,
    cause: Cause,
    kind: Kind = Kind.DHCP_IGNORED,
    effects: tuple[Effect, ...] = (),
) -> Decision:
    """No answer, for a reason that somebody will want to know."""
    return Decision(
        None,
        reason,
        kind,
        case.machine.id if case.machine is not None else None,
        case.question.mac,
        effects=effects,
        firmware=firmware_of(case.question),
        cause=cause,
        switch_port=case.question.switch_port,
    )


def requested(question: Question, wanted: IPv4Address, unicast: bool) -> str:
    """Which of the four REQUESTs it is (RFC 2131 §4.3.2, table 4), in words."""
    if question.server_id is not None:
        return f"took {wanted}"
    if question.requested is not None:
        return f"came back with {wanted} (INIT-REBOOT)"
    # A relay writes to our address what its client broadcast.
    directly = unicast and question.packet.giaddr == NOWHERE
    return f"renewed {wanted}" if directly else f"renewed {wanted} by broadcast (REBINDING)"


_LISTING = {UnknownPolicy.ENROL: "enrol", UnknownPolicy.APPROVE: "approve"}


def seen(case: Case, now: int) -> tuple[Effect, ...]:
    """An unlisted client is remembered; where the policy says so and it boots from the network, it gets listed."""
    if case.machine is not None:
        return ()
    question = case.question
    known = question.firmware is not Firmware.UNKNOWN
    what = f"{question.client}" + (f" {question.firmware}" if known else "")
    where = f"{case.context.interface}" + (f" by relay {question.packet.giaddr}" if question.link else "")
    port = f", port {question.switch_port}" if question.switch_port else ""
    # Whatever else is plugged in, a phone or a switch, is no machine to install.
    enrol = "" if question.client is Client.SYSTEM else _LISTING.get(case.subnet.unknown, "")
    firmware = str(question.firmware) if known else ""
    detail = f"{what} on {where}{port}"
    return (Sight(Sighting(question.mac, "dhcp", now, detail, enrol, firmware, question.switch_port)),)


_PHASES = {Client.PXE: Phase.FIRMWARE, Client.HTTP: Phase.FIRMWARE, Client.IPXE: Phase.LOADER}


def phase_of(question: Question) -> Phase | None:
    """How far a netboot has come that asks this; None for a system."""
    return _PHASES.get(question.client)


def firmware_of(question: Question) -> Firmware | None:
    return question.firmware if question.firmware is not _UNKNOWN else None
