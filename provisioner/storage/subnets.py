"""The subnet repository."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select, update

from provisioner.domain.errors import Conflict
from provisioner.domain.subnet import AddressRange, Subnet, UnknownPolicy
from provisioner.storage.session import Session, check_version, differing, found, uuid_or_none
from provisioner.storage.tables import subnets as table

KIND = "subnet"
_FIELDS = (
    "prefix",
    "gateway",
    "dns",
    "ntp",
    "domain",
    "vlan",
    "pools",
    "unknown",
    "arm",
    "lease_seconds",
    "options",
    "menu",
    "menu_seconds",
)


def load_subnets(connection: Connection) -> list[Subnet]:
    """All, by family and address, the wider prefix first."""
    subnets = [_subnet(row) for row in connection.execute(select(table))]
    return sorted(subnets, key=lambda s: (s.prefix.version, int(s.prefix.network_address), s.prefix.prefixlen))


class SubnetRows:
    """Implements ``ports.Repository[Subnet]``; the natural name is the prefix."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute

    def find(self, ref: str) -> Subnet | None:
        if subnet_id := uuid_or_none(ref):
            return self._by_id(subnet_id)
        try:
            prefix = ip_network(ref, strict=False)
        except ValueError:
            return None
        row = self._run(select(table).where(table.c.prefix == prefix)).one_or_none()
        return _subnet(row) if row else None

    def get(self, ref: str) -> Subnet:
        return found(self.find(ref), KIND, ref)

    def list(self) -> Sequence[Subnet]:
        return load_subnets(self._session.connection)

    def put(self, item: Subnet, expect_version: int | None = None) -> Subnet:
        stored = self._by_id(item.id)
        check_version(KIND, str(item.prefix), stored.version if stored else None, expect_version)
        same_prefix = self.find(str(item.prefix))
        if same_prefix is not None and same_prefix.id != item.id:
            remedy = f"`provisioner subnet set {item.prefix}` changes it"
            raise Conflict("prefix", item.prefix, f"subnet {same_prefix.prefix}", remedy)
        # A hash can be tried against guesses: the record says that there is a password, not which.
        secret = differing(stored, item, ("menu_password",), lambda hashed: "set" if hashed else "")
        fields = {**differing(stored, item, _FIELDS), **secret}
        item = replace(item, version=stored.version + bool(fields) if stored else 1)
        self._session.change(KIND, item.id)
        if stored is None:
            self._run(insert(table), _values(item))
        else:
            self._run(update(table).where(table.c.id == item.id).values(_values(item)))
        self._session.record("put", KIND, item.id, str(item.prefix), fields)
        return item

    def remove(self, item_id: UUID) -> None:
        """Reserved addresses of the prefix stay with their machines."""
        subnet = found(self._by_id(item_id), KIND, item_id)
        self._session.change(KIND, item_id)
        self._run(delete(table).where(table.c.id == item_id))
        self._session.record("remove", KIND, item_id, str(subnet.prefix), {})

    def _by_id(self, subnet_id: UUID) -> Subnet | None:
        row = self._run(select(table).where(table.c.id == subnet_id)).one_or_none()
        return _subnet(row) if row else None


def _subnet(row: Row[Any]) -> Subnet:
    return Subnet(
        id=row.id,
        prefix=row.prefix,
        gateway=row.gateway,
        dns=tuple(map(ip_address, row.dns)),
        ntp=tuple(map(ip_address, row.ntp)),
        domain=row.domain,
        vlan=row.vlan,
        pools=tuple(AddressRange(ip_address(first), ip_address(last)) for first, last in row.pools),
        unknown=UnknownPolicy(row.unknown),
        arm=row.arm,
        lease_seconds=row.lease_seconds,
        options={int(code): bytes.fromhex(value) for code, value in row.options.items()},
        menu=row.menu,
        menu_seconds=row.menu_seconds,
        menu_password=row.menu_password,
        version=row.version,
    )


def _values(subnet: Subnet) -> dict[str, Any]:
    return {
        "id": subnet.id,
        "prefix": subnet.prefix,
        "gateway": subnet.gateway,
        "dns": list(map(str, subnet.dns)),
        "ntp": list(map(str, subnet.ntp)),
        "domain": subnet.domain,
        "vlan": subnet.vlan,
        "pools": [[str(pool.first), str(pool.last)] for pool in subnet.pools],
        "unknown": subnet.unknown,
        "arm": subnet.arm,
        "lease_seconds": subnet.lease_seconds,
        "options": {str(code): value.hex() for code, value in subnet.options.items()},
        "menu": subnet.menu,
        "menu_seconds": subnet.menu_seconds,
        "menu_password": subnet.menu_password,
        "version": subnet.version,
    }
