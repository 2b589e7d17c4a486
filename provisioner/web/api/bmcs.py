"""BMCs. Passwords go in and never come out."""

from dataclasses import asdict
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from provisioner.actions import bmcs, health, logins, power, reconcile, scan
from provisioner.domain.bmc import Bmc
from provisioner.web.api import edits, jobs
from provisioner.web.api.edits import IfMatch
from provisioner.web.api.jobs import JobOut
from provisioner.web.api.paging import After, Limit, Page, cut
from provisioner.web.auth import actor
from provisioner.web.parts import Parts


class BmcOut(BaseModel):
    id: str
    address: str
    port: int
    protocol: str
    has_login: bool
    chassis: str
    certificate: str
    version: int


class BmcFields(BaseModel):
    """Left out: unchanged. ``user`` and ``password`` are set together."""

    model_config = ConfigDict(extra="forbid")

    port: int | None = None
    protocol: str | None = None
    user: str | None = None
    password: str | None = Field(default=None, json_schema_extra={"writeOnly": True}, repr=False)
    chassis: str | None = None
    new_certificate: bool = False
    """Forget the pinned certificate; the next harvest pins what it sees."""


class NewBmc(BmcFields):
    address: str


class ScanWish(BaseModel):
    """``add`` lists the new ones; ``user`` and ``password``: tried at every BMC of the range."""

    model_config = ConfigDict(extra="forbid")

    range: str = Field(description="A prefix like 10.12.200.0/22.", max_length=64)
    add: bool = False
    user: str = Field(default="", max_length=200)
    password: str = Field(default="", json_schema_extra={"writeOnly": True}, repr=False)


class LoginOut(BaseModel):
    """A login for all BMCs of a network, tried in the order of ``position``. Its password never comes out."""

    prefix: str
    user: str
    position: int


class NewLogin(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prefix: str
    user: str
    password: str = Field(json_schema_extra={"writeOnly": True}, repr=False)
    position: int | None = None


class VendorRow(BaseModel):
    """A machine as the vendor lists it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    mac: str | list[str] = Field(description="One, several by `;`, or a list.")
    bmc: str = ""


class VendorList(BaseModel):
    """``rows`` null: the list that was given last."""

    model_config = ConfigDict(extra="forbid")

    rows: list[VendorRow] | None = Field(default=None, max_length=10_000)


class FindingOut(BaseModel):
    """``kind``: duplicate, swap, typo, differs (these keep machines from being armed), missing or extra."""

    kind: str
    machines: list[str]
    listed: str
    found: str
    fix: str


class ContradictionOut(FindingOut):
    machine_id: str


class ConditionWish(BaseModel):
    """``bmcs``: addresses, ids or machine names; null: every listed BMC. Of one alone, every reading is told."""

    model_config = ConfigDict(extra="forbid")

    bmcs: list[str] | None = Field(default=None, max_length=10_000)


class HarvestWish(BaseModel):
    """``addresses`` null: every listed BMC."""

    model_config = ConfigDict(extra="forbid")

    addresses: list[str] | None = Field(default=None, max_length=10_000)


class Bmcs:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self, after: After = "", limit: Limit = 200) -> Page[BmcOut]:
        """All BMCs."""
        with self._parts.store.reading() as tx:
            found = tx.bmcs.list()
        return cut(found, lambda bmc: bmc.address, after, limit, shown)

    def one(self, ref: str, response: Response) -> BmcOut:
        """By address or id."""
        return self._tagged(self._find(ref), response)

    def add(self, fields: NewBmc, request: Request, response: Response) -> BmcOut:
        """List a BMC; one that is listed gets the login and fields that are sent."""
        bmc = self._put(fields.model_dump(exclude_unset=True), request)
        response.headers["Location"] = f"/api/v1/bmcs/{bmc.id}"
        return self._tagged(bmc, response)

    def change(
        self, ref: str, fields: BmcFields, request: Request, response: Response, if_match: IfMatch = None
    ) -> BmcOut:
        """Change the fields that are sent."""
        sent = {**fields.model_dump(exclude_unset=True), "address": self._find(ref).address}
        return self._tagged(self._put(sent, request, edits.expected(if_match)), response)

    def remove(self, ref: str, request: Request, if_match: IfMatch = None) -> None:
        """Refused while a machine names it."""
        bmcs.remove_bmc(
            self._parts.store,
            ref,
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=edits.expected(if_match),
        )

    def harvest(self, request: Request, response: Response, wish: HarvestWish | None = None) -> JobOut:
        """Ask BMCs who their servers are."""
        job = power.enqueue_harvest(
            self._parts.store, wish.addresses if wish else None, actor=actor(request), now=self._parts.clock()
        )
        return jobs.accepted(response, job)

    def condition(self, request: Request, response: Response, wish: ConditionWish | None = None) -> JobOut:
        """Ask BMCs how their servers are: power, health, sensors; of many, the readings that are not ok."""
        job = health.enqueue_condition(
            self._parts.store, wish.bmcs if wish else None, actor=actor(request), now=self._parts.clock()
        )
        return jobs.accepted(response, job)

    def scan(self, wish: ScanWish, request: Request, response: Response) -> JobOut:
        """Find BMCs by RMCP ping, Redfish's service root and chassis managers' login page; logs in nowhere."""
        job = scan.enqueue_scan(
            self._parts.store,
            wish.range,
            actor=actor(request),
            now=self._parts.clock(),
            add=wish.add,
            user=wish.user,
            password=wish.password,
        )
        return jobs.accepted(response, job)

    def reconcile(self, wish: VendorList, request: Request) -> list[FindingOut]:
        """Compare the vendor's list with BMCs and DHCP; machines that contradict it cannot be armed."""
        rows = None if wish.rows is None else [(n, row.model_dump()) for n, row in enumerate(wish.rows, 1)]
        found = reconcile.compare(self._parts.store, rows, actor=actor(request), now=self._parts.clock())
        return [FindingOut(**asdict(finding)) for finding in found]

    def contradictions(self) -> list[ContradictionOut]:
        """What keeps machines from being armed, by machine."""
        with self._parts.store.reading() as tx:
            found = tx.contradictions.list()
        return [ContradictionOut(**asdict(finding), machine_id=str(machine_id)) for machine_id, finding in found]

    def logins(self) -> list[LoginOut]:
        """Logins for all BMCs of a network."""
        with self._parts.store.reading() as tx:
            return [LoginOut(**asdict(each)) for each in logins.network_logins(tx)]

    def add_login(self, fields: NewLogin, request: Request) -> LoginOut:
        """Add one, or change its password."""
        made = logins.put_login(
            self._parts.store, fields.model_dump(), actor=actor(request), now=self._parts.clock()
        )
        return LoginOut(**asdict(made))

    def remove_login(self, prefix: str, user: str, request: Request) -> None:
        """Forget one."""
        logins.remove_login(self._parts.store, prefix, user, actor=actor(request), now=self._parts.clock())

    def _find(self, ref: str) -> Bmc:
        with self._parts.store.reading() as tx:
            return tx.bmcs.get(ref)

    def _put(self, fields: dict[str, Any], request: Request, expect_version: int | None = None) -> Bmc:
        return bmcs.add_bmc(
            self._parts.store,
            fields,
            actor=actor(request),
            now=self._parts.clock(),
            expect_version=expect_version,
        )

    def _tagged(self, bmc: Bmc, response: Response) -> BmcOut:
        edits.tag(response, bmc.version)
        return shown(bmc)


def shown(bmc: Bmc) -> BmcOut:
    return BmcOut(
        id=str(bmc.id),
        address=bmc.address,
        port=bmc.port,
        protocol=bmc.protocol,
        has_login=bmc.credential_id is not None,
        chassis=bmc.chassis,
        certificate=bmc.certificate,
        version=bmc.version,
    )
