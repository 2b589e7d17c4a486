"""A small pool, strangers that ask for its addresses, and a server that keeps what it decides."""

from dataclasses import replace
from ipaddress import IPv4Address

from provisioner.dhcp.decision import Decision
from provisioner.dhcp.leases import (
    SECOND,
    LeaseBook,
    Put,
)
from provisioner.dhcp.packet import Packet
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.subnet import AddressRange, UnknownPolicy

from .rack import (
    ACK,
    CONTEXT,
    DISCOVER,
    NEAR,
    NODE,
    REQUEST,
    SERVER,
    STRANGER,
    Asker,
    ask,
    rack,
)

FIRST, LAST = IPv4Address("10.98.0.200"), IPv4Address("10.98.0.203")
POOLED = replace(NEAR, pools=(AddressRange(FIRST, LAST),), unknown=UnknownPolicy.ENROL, lease_seconds=600)
LEASED_FOR = 600 * SECOND
HERE = rack(NODE, subnets=(POOLED,))


def stranger(number: int) -> Asker:
    return Asker(mac=Mac(STRANGER[:5] + bytes((number,))))


class Server:
    """Answers, and remembers what the decisions leave behind, as the packet loop does."""

    def __init__(self, inventory: Inventory = HERE, newcomers: tuple[float, float] = (1000, 1000)) -> None:
        self.book = LeaseBook(newcomers=newcomers)
        self.inventory = inventory
        self.context = replace(CONTEXT, leases=self.book)

    def __call__(
        self, asker: Asker, kind: bytes = DISCOVER, options: dict[int, bytes] | None = None, **more: object
    ) -> tuple[Decision, Packet | None]:
        more = {"inventory": self.inventory, "context": self.context, **more}
        decision, reply = ask(asker, kind, options, **more)  # type: ignore[arg-type]
        for effect in decision.effects:
            if isinstance(effect, Put):
                self.book.put(effect.lease)
        return decision, reply

    def lease(self, asker: Asker, **more: object) -> IPv4Address:
        """DISCOVER and REQUEST, as a client that takes what it is offered."""
        decision, offer = self(asker, **more)
        assert offer is not None, decision.reason
        taken = {50: offer.yiaddr.packed, 54: SERVER.packed}
        decision, ack = self(asker, REQUEST, taken, **more)
        assert ack is not None, decision.reason
        assert ack.options[53] == ACK, decision.reason
        assert ack.yiaddr == offer.yiaddr
        return ack.yiaddr
