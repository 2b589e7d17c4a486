"""BMCs and the credentials that open them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, insert, select, update

from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import Conflict, InUse, Refused
from provisioner.domain.machine import IPAddress
from provisioner.domain.records import Credential
from provisioner.storage import tables
from provisioner.storage.secrets import Keyring
from provisioner.storage.session import (
    Session,
    check_version,
    differing,
    found,
    refuse_version,
    uuid_or_none,
)

_BMC_FIELDS = ("address", "port", "protocol", "credential_id", "chassis", "certificate")


class BmcRows:
    """Implements ``ports.Repository[Bmc]``; the natural name is ADDRESS or ADDRESS:PORT."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = session.connection.execute
        self._table = tables.bmcs

    def find(self, ref: str) -> Bmc | None:
        """Raises Refused when several BMCs share the address and no port is given."""
        if bmc_id := uuid_or_none(ref):
            return self._by_id(bmc_id)
        t = self._table
        rows = self._run(select(t).where(t.c.address == ref)).all()
        if len(rows) > 1:
            shown = ", ".join(f"{row.address}:{row.port}" for row in rows)
            raise Refused(f"several BMCs are at {ref}: {shown}", "name one of them with its port")
        if not rows:
            address, _, port = ref.rpartition(":")
            if not port.isdecimal():
                return None
            rows = self._run(select(t).where(t.c.address == address.strip("[]"), t.c.port == int(port))).all()
        return _bmc(rows[0]) if rows else None

    def get(self, ref: str) -> Bmc:
        return found(self.find(ref), "bmc", ref)

    def list(self) -> Sequence[Bmc]:
        t = self._table
        return [_bmc(row) for row in self._run(select(t).order_by(t.c.chassis, t.c.address, t.c.port))]

    def addresses(self, ids: Iterable[UUID]) -> Mapping[UUID, str]:
        t = self._table
        return {row.id: row.address for row in self._run(select(t.c.id, t.c.address).where(t.c.id.in_(list(ids))))}

    def put(self, item: Bmc, expect_version: int | None = None) -> Bmc:
        t = self._table
        stored = self._by_id(item.id)
        check_version("bmc", item.address, stored.version if stored else None, expect_version)
        here = select(t.c.id).where(t.c.address == item.address, t.c.port == item.port, t.c.id != item.id)
        if self._run(here).first():
            door = f"{item.address}:{item.port}"
            raise Conflict("address", door, f"BMC {door}", "change that one, or remove it first")
        if item.credential_id is not None:
            c = tables.credentials
            known = self._run(select(c.c.id).where(c.c.id == item.credential_id)).scalar_one_or_none()
            found(known, "credential", item.credential_id)
        fields = differing(stored, item, _BMC_FIELDS)
        item = replace(item, version=stored.version + bool(fields) if stored else 1)
        values = _bmc_values(item)
        self._session.change("bmc", item.id)
        if stored is None:
            self._run(insert(t), values)
        else:
            self._run(update(t).where(t.c.id == item.id).values(values))
        self._session.record("put", "bmc", item.id, item.address, fields)
        return item

    def add_many(self, items: Iterable[Bmc]) -> None:
        rows = [replace(item, version=1) for item in items]
        for item in rows:
            self._session.change("bmc", item.id)
            self._session.record("put", "bmc", item.id, item.address, differing(None, item, _BMC_FIELDS))
        if rows:
            self._run(insert(self._table), [_bmc_values(item) for item in rows])

    def remove(self, item_id: UUID) -> None:
        bmc = found(self._by_id(item_id), "bmc", item_id)
        m, s = tables.machines, tables.slots
        user = self._run(select(s.c.name).join(m).where(m.c.bmc_id == item_id)).scalars().first()
        if user is not None:
            remedy = f"`provisioner machine remove {user}` or give that machine another BMC first"
            raise InUse("bmc", bmc.address, f"machine {user}", remedy)
        self._session.change("bmc", item_id)
        self._run(delete(self._table).where(self._table.c.id == item_id))
        self._session.record("remove", "bmc", item_id, bmc.address, {})

    def _by_id(self, bmc_id: UUID) -> Bmc | None:
        row = self._run(select(self._table).where(self._table.c.id == bmc_id)).one_or_none()
        return _bmc(row) if row else None


def _bmc_values(bmc: Bmc) -> dict[str, Any]:
    return {name: getattr(bmc, name) for name in ("id", *_BMC_FIELDS, "version")}


def _bmc(row: Row[Any]) -> Bmc:
    return Bmc(
        id=row.id,
        address=row.address,
        port=row.port,
        protocol=row.protocol,
        credential_id=row.credential_id,
        chassis=row.chassis,
        certificate=row.certificate,
        version=row.version,
    )


class CredentialRows:
    """Implements ``ports.Credentials``. Passwords are encrypted here and nowhere else plain."""

    def __init__(self, session: Session, keyring: Keyring) -> None:
        self._session = session
        self._keyring = keyring
        self._run = session.connection.execute
        self._table = tables.credentials

    def find(self, ref: str) -> Credential | None:
        t = self._table
        row = self._run(select(t).where(t.c.name == ref)).one_or_none()
        if row is None and (credential_id := uuid_or_none(ref)):
            row = self._run(select(t).where(t.c.id == credential_id)).one_or_none()
        return self._credential(row) if row else None

    def get(self, ref: str) -> Credential:
        return found(self.find(ref), "credential", ref)

    def list(self) -> Sequence[Credential]:
        return [self._credential(row) for row in self._run(select(self._table).order_by(self._table.c.name))]

    def for_address(self, address: IPAddress) -> Sequence[Credential]:
        """Those of the networks it lies in, the narrowest network first, then by position."""
        t = self._table
        rows = self._run(select(t).where(t.c.prefix.is_not(None))).all()
        fitting = [row for row in rows if address.version == row.prefix.version and address in row.prefix]
        fitting.sort(key=lambda row: (-row.prefix.prefixlen, row.position, row.name))
        return [self._credential(row) for row in fitting]

    def put(self, item: Credential, expect_version: int | None = None) -> Credential:
        refuse_version("credential", expect_version)
        stored, holder = self.find(str(item.id)), self.find(item.name)
        if holder is not None and holder.id != item.id:
            raise Conflict("credential name", item.name, "another credential", "choose another name")
        values = {
            "id": item.id,
            "name": item.name,
            "login": item.user,
            "secret": self._keyring.encrypt(item.password),
            "prefix": item.prefix,
            "position": item.position,
        }
        self._session.change("credential", item.id)
        if stored is None:
            self._run(insert(self._table), values)
        else:
            self._run(update(self._table).where(self._table.c.id == item.id).values(values))
        fields = differing(stored, item, ("name", "user", "prefix", "position"))
        if stored is None or stored.password != item.password:
            fields["password"] = ["***", "***"]
        self._session.record("put", "credential", item.id, item.name, fields)
        return item

    def remove(self, item_id: UUID) -> None:
        credential = self.get(str(item_id))
        b = tables.bmcs
        user = self._run(select(b.c.address).where(b.c.credential_id == item_id)).scalars().first()
        if user is not None:
            remedy = "give that BMC another credential first"
            raise InUse("credential", credential.name, f"BMC {user}", remedy)
        self._session.change("credential", item_id)
        self._run(delete(self._table).where(self._table.c.id == item_id))
        self._session.record("remove", "credential", item_id, credential.name, {})

    def _credential(self, row: Row[Any]) -> Credential:
        password = self._keyring.decrypt(row.secret)
        return Credential(row.id, row.name, row.login, password, row.prefix, row.position)
