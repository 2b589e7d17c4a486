"""Subnets, BMCs, credentials, people, role revisions, events and sightings."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from uuid import UUID, uuid4

import pytest

from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import Conflict, InUse, InvalidValue, NotFound, Refused, StaleEdit
from provisioner.domain.events import Event, Kind, Sighting
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Phase
from provisioner.domain.records import ApiToken, Credential, RoleRevision, User
from provisioner.domain.subnet import AddressRange, Subnet, UnknownPolicy
from provisioner.storage import timeline
from provisioner.storage.store import SqlStore
from tests.domain.samples import machine

FULL = Subnet(
    id=uuid4(),
    prefix=ip_network("10.12.0.0/16"),
    gateway=ip_address("10.12.0.1"),
    dns=(ip_address("10.0.0.53"), ip_address("2001:db8::53")),
    ntp=(ip_address("10.0.0.123"),),
    domain="example.org",
    vlan=12,
    pools=(AddressRange(ip_address("10.12.9.1"), ip_address("10.12.9.99")),),
    unknown=UnknownPolicy.ENROL,
    arm="on-discovery",
    lease_seconds=600,
    options={66: b"tftp", 224: b"\x00\xff"},
)
SIX = Subnet(uuid4(), ip_network("2001:db8:1::/64"))
NARROW = Subnet(uuid4(), ip_network("10.12.1.0/24"))


def test_subnets_are_kept_whole_found_by_prefix_and_sorted(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        for subnet in (SIX, NARROW, FULL):
            assert tx.subnets.put(subnet) == replace(subnet, version=1)
    with store.reading() as tx:
        assert tx.subnets.list() == [replace(subnet, version=1) for subnet in (FULL, NARROW, SIX)]
        assert tx.subnets.get("10.12.1.0/24") == tx.subnets.get(str(NARROW.id))
        assert tx.subnets.find("10.12.1.9/24") == tx.subnets.get("10.12.1.0/24")
        assert tx.subnets.find("nonsense") is None


def test_subnet_edits_are_counted_checked_and_unique(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        tx.subnets.put(FULL)
        assert tx.subnets.put(FULL).version == 1
        assert tx.subnets.put(replace(FULL, domain="new.org"), expect_version=1).version == 2
        with pytest.raises(StaleEdit, match=r"10.12.0.0/16 is at version 2, not 1"):
            tx.subnets.put(FULL, expect_version=1)
        with pytest.raises(Conflict, match=r"prefix '10.12.0.0/16' already belongs to subnet 10.12.0.0/16"):
            tx.subnets.put(replace(FULL, id=uuid4()))
        tx.subnets.remove(FULL.id)
        with pytest.raises(NotFound):
            tx.subnets.remove(FULL.id)


def test_bmcs_are_found_by_address_and_by_port_where_they_share_one(store: SqlStore) -> None:
    first, second, sixth = (
        Bmc(uuid4(), "127.0.0.1", 9001),
        Bmc(uuid4(), "127.0.0.1", 9002, chassis="c1"),
        Bmc(uuid4(), "2001:db8::1"),
    )
    with store.transaction("cli:test") as tx:
        tx.bmcs.put(first)
        assert tx.bmcs.get("127.0.0.1") == replace(first, version=1)
        tx.bmcs.put(second)
        tx.bmcs.put(sixth)
        assert tx.bmcs.get("127.0.0.1:9002") == replace(second, version=1)
        assert tx.bmcs.get("2001:db8::1") == tx.bmcs.get("[2001:db8::1]:623") == replace(sixth, version=1)
        assert tx.bmcs.find("10.0.0.1") is None
        with pytest.raises(Refused, match=r"several BMCs are at 127.0.0.1: .*9001.*name one of them with its port"):
            tx.bmcs.find("127.0.0.1")
        with pytest.raises(Conflict, match=r"'127.0.0.1:9001' already belongs to BMC"):
            tx.bmcs.put(replace(second, port=9001))
        with pytest.raises(NotFound, match="no credential"):
            tx.bmcs.put(replace(first, credential_id=uuid4()))
        assert [bmc.port for bmc in tx.bmcs.list()] == [9001, 623, 9002]
        assert tx.bmcs.put(replace(first, certificate="ab")).version == 2


def test_what_something_needs_cannot_be_removed(store: SqlStore) -> None:
    credential = Credential(uuid4(), "rack", "ADMIN", "secret")
    bmc = Bmc(uuid4(), "10.9.0.1", credential_id=credential.id)
    with store.transaction("cli:test") as tx:
        tx.credentials.put(credential)
        tx.bmcs.put(bmc)
        put = tx.machines.put(machine(bmc_id=bmc.id))
        with pytest.raises(InUse, match=r"bmc '10.9.0.1' is used by machine node-01; "):
            tx.bmcs.remove(bmc.id)
        with pytest.raises(InUse, match=r"credential 'rack' is used by BMC 10.9.0.1; "):
            tx.credentials.remove(credential.id)
        tx.machines.remove(put.id)
        tx.bmcs.remove(bmc.id)
        tx.credentials.remove(credential.id)
        assert tx.credentials.list() == []


def test_credentials_have_unique_names(store: SqlStore) -> None:
    credential = Credential(uuid4(), "rack", "ADMIN", "sécret ")
    with store.transaction("cli:test") as tx:
        tx.credentials.put(credential)
        assert tx.credentials.get("rack") == tx.credentials.get(str(credential.id)) == credential
        with pytest.raises(Conflict, match="'rack' already belongs to another credential"):
            tx.credentials.put(replace(credential, id=uuid4()))
        with pytest.raises(InvalidValue, match="has no versions"):
            tx.credentials.put(credential, expect_version=1)


def test_users_and_their_tokens(store: SqlStore) -> None:
    ann = User(uuid4(), "ann", "$argon2id$x", 5)
    token = ApiToken(uuid4(), "ci", ann.id, "aa" * 32, created_at=6, expires_at=9)
    with store.transaction("cli:test") as tx:
        with pytest.raises(NotFound, match="no user"):
            tx.tokens.put(token)
        tx.users.put(ann)
        tx.tokens.put(token)
        used = tx.tokens.put(replace(token, used_at=7))
        assert tx.users.get("ann") == tx.users.get(str(ann.id)) == ann
        assert tx.tokens.by_hash("aa" * 32) == tx.tokens.get("ci") == tx.tokens.get(str(token.id)) == used
        assert tx.tokens.list() == [used]
        with pytest.raises(Conflict, match="'ann' already belongs to another user"):
            tx.users.put(User(uuid4(), "ann"))
        with pytest.raises(Conflict, match="token ci") as refused:
            tx.tokens.put(replace(token, id=uuid4()))
        assert token.token_hash not in str(refused.value)
        tx.users.remove(ann.id)
        assert tx.tokens.by_hash("aa" * 32) is None
        assert tx.users.list() == []


def test_role_revisions_are_kept_once(store: SqlStore) -> None:
    revision = RoleRevision("worker", "abc", {"config.yml.j2": b"#cloud-config\n", "blob": b"\x00\xff"}, 5)
    with store.transaction("cli:test") as tx:
        tx.put_role_revision(revision)
        tx.put_role_revision(replace(revision, created_at=9))
        assert tx.role_revision("worker", "abc") == revision
        assert tx.role_revision("worker", "def") is None


def event(message: str, machine_id: UUID | None = None) -> Event:
    return Event(
        Kind.DHCP_OFFER, message, 5, machine_id, Mac.parse("52:54:00:00:00:01"), Phase.FIRMWARE, "dhcp", {"a": [1]}
    )


def test_events_page_in_both_directions(store: SqlStore) -> None:
    one, two = uuid4(), uuid4()
    with store.transaction("appliance") as tx:
        for number in range(6):
            tx.events.add(event(f"e{number}", one if number % 2 else two))
        tx.events.add(Event(Kind.SERVICE, "last", 6))
    with store.reading() as tx:
        newest = tx.events.list(limit=3)
        assert [e.message for e in newest] == ["last", "e5", "e4"]
        assert newest[0].actor == "appliance"
        assert newest[1] == event("e5", one)._replace(id=newest[1].id)
        assert [e.message for e in tx.events.list(before=newest[-1].id, limit=2)] == ["e3", "e2"]
        assert [e.message for e in tx.events.list(after=newest[-1].id)] == ["e5", "last"]
        assert [e.message for e in tx.events.list(machine_id=one)] == ["e5", "e3", "e1"]
        assert {key: e.message for key, e in tx.events.latest([one, two, uuid4()]).items()} == {
            one: "e5",
            two: "e4",
        }


def test_bytes_from_the_wire_cannot_break_an_event(store: SqlStore) -> None:
    with store.transaction("dhcp") as tx:
        tx.events.add(Event(Kind.DHCP_IGNORED, "host name 'a\0b\ud800'", 5, data={"name": "a\0b"}))
        assert tx.events.list()[0].message == "host name 'a\\x00b\\ud800'"


def test_sightings_are_counted_newest_first_and_capped(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "SIGHTINGS_KEPT", 5)
    seen = [Sighting(Mac(bytes([2, 0, 0, 0, 0, number])), "dhcp", number, f"host {number}") for number in range(8)]
    with store.transaction("dhcp") as tx:
        tx.see(seen)
        tx.see([replace(seen[7], at=99, detail="again")])
        assert tx.sightings() == [replace(seen[7], at=99, detail="again"), *reversed(seen[3:7])]
        assert tx.sightings(limit=1) == [replace(seen[7], at=99, detail="again")]
