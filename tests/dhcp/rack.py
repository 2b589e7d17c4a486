"""A small rack, and clients that ask as real ones do."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID, uuid5

from provisioner.dhcp.packet import NOWHERE, Packet, decode, encode
from provisioner.dhcp.respond import Context, Decision, handle
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, Machine, Slot, State
from provisioner.domain.subnet import Subnet

SPACE = UUID("c4c1c0de-0000-4000-8000-000000000000")
NOW = 1_700_000_000_000_000
SERVER = IPv4Address("10.98.0.1")
MAC = Mac.parse("52:54:00:98:00:17")
IP = IPv4Address("10.98.0.17")
SECOND_MAC = Mac.parse("52:54:00:98:01:17")
STRANGER = Mac.parse("52:54:00:ff:ff:01")
RELAY = IPv4Address("10.99.0.1")
FAR_MAC = Mac.parse("52:54:00:99:00:05")
FAR_IP = IPv4Address("10.99.0.5")

NEAR = Subnet(
    uuid5(SPACE, "near"),
    IPv4Network("10.98.0.0/24"),
    gateway=IPv4Address("10.98.0.254"),
    dns=(IPv4Address("10.98.0.2"), IPv4Address("10.98.0.3")),
    ntp=(IPv4Address("10.98.0.4"),),
    domain="rack.example",
    lease_seconds=7200,
)
FAR = Subnet(uuid5(SPACE, "far"), IPv4Network("10.99.0.0/24"), gateway=RELAY)
CONTEXT = Context("br0", SERVER, ifindex=3, loaders=frozenset({"undionly.kpxe", "snponly.efi"}))

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = (bytes((n,)) for n in range(1, 9))


def machine(name: str, mac: Mac, ip: IPv4Address | None, state: State = State.READY, **more: object) -> Machine:
    made = Machine(
        uuid5(SPACE, name),
        Slot(uuid5(SPACE, name + "-slot"), name, role="worker"),
        state,
        (Interface(uuid5(SPACE, name + "-nic"), mac),),
        (Address(uuid5(SPACE, name + "-ip"), ip, mac),) if ip else (),
    )
    return replace(made, **more)  # type: ignore[arg-type]


NODE = machine("node17", MAC, IP)
FAR_NODE = machine("far5", FAR_MAC, FAR_IP)
RACK = Inventory.build([NODE, FAR_NODE], [NEAR, FAR])


def rack(*machines: Machine, subnets: tuple[Subnet, ...] = (NEAR, FAR)) -> Inventory:
    return Inventory.build(machines, subnets)


@dataclass(frozen=True)
class Asker:
    """A client's firmware or system: the options it sends with everything."""

    options: Mapping[int, bytes] = field(default_factory=dict)
    mac: Mac = MAC
    flags: int = 0

    def packet(self, kind: bytes, options: Mapping[int, bytes] | None = None, **fields: object) -> Packet:
        chaddr = bytes(self.mac).ljust(16, b"\0")
        sent = {53: kind, **self.options, **(options or {})}
        base = Packet(1, 0x1234ABCD, chaddr, flags=self.flags, options=sent)
        return base._replace(**fields)

    def bytes(self, kind: bytes, options: Mapping[int, bytes] | None = None, **fields: object) -> bytes:
        return encode(self.packet(kind, options, **fields), 548)


PXE_WANTS = bytes(
    [1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97]
)
UUID97 = b"\0" + bytes(range(16))
SYSTEM = Asker({55: bytes([1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42])})


def pxe(arch: int, **more: bytes) -> Asker:
    return Asker(
        {
            57: (1472).to_bytes(2, "big"),
            55: PXE_WANTS,
            97: UUID97,
            94: b"\x01\x03\x10",
            93: arch.to_bytes(2, "big"),
            60: b"PXEClient:Arch:%05d:UNDI:003016" % arch,
        }
    )


def http_client(arch: int) -> Asker:
    return replace(pxe(arch), options={**pxe(arch).options, 60: b"HTTPClient:Arch:%05d:UNDI:003016" % arch})


def ipxe(arch: int) -> Asker:
    return replace(
        pxe(arch),
        options={**pxe(arch).options, 77: b"iPXE", 175: b"\xb1\x05\x01\x10\xec\x81\x39", 61: b"\x01" + MAC},
    )


def ask(
    asker: Asker,
    kind: bytes = DISCOVER,
    options: Mapping[int, bytes] | None = None,
    *,
    inventory: Inventory = RACK,
    context: Context = CONTEXT,
    now: int = NOW,
    unicast: bool = False,
    **fields: object,
) -> tuple[Decision, Packet | None]:
    """The decision, and the reply as the client would read it."""
    decision = handle(asker.bytes(kind, options, **fields), inventory, context, now, unicast=unicast)
    return decision, decode(decision.reply.packet) if decision.reply else None


def granted(
    asker: Asker, kind: bytes = DISCOVER, options: Mapping[int, bytes] | None = None, **more: object
) -> Packet:
    decision, reply = ask(asker, kind, options, **more)  # type: ignore[arg-type]
    assert reply is not None, decision.reason
    assert reply.yiaddr != NOWHERE
    return reply
