"""The machine aggregate: round trip, uniqueness, versions, progress."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import Conflict, InvalidValue, NotFound, StaleEdit
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Install, Interface, Machine, OnFailure, Phase, Slot, State
from provisioner.domain.records import PhaseRecord
from provisioner.storage import tables
from provisioner.storage.columns import storable
from provisioner.storage.store import SqlStore
from tests.domain.samples import NOW, install, machine

words = st.text(max_size=20).map(storable)
times = st.integers(0, 2**62)
small = st.integers(0, 2**31 - 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
macs = st.binary(min_size=6, max_size=6).filter(lambda raw: not raw[0] & 1 and any(raw)).map(Mac)
addresses = st.builds(
    Address, st.uuids(), st.builds(IPv4Address, small) | st.builds(IPv6Address, small), st.none() | macs
)
installs = st.builds(
    Install,
    id=st.uuids(),
    role=words,
    revision=words,
    token_hash=words,
    machine_token_hash=words,
    armed_at=times,
    deadline=times,
    max_attempts=small,
    attempts=small,
    boots=small,
    attempt_boot=small,
    phase=st.none() | st.sampled_from(Phase),
    percent=st.none() | small,
    phase_at=st.none() | times,
    outcome=words,
    reason=words,
    on_failure=st.sampled_from(OnFailure),
    wipe=st.booleans(),
    files=st.dictionaries(words, st.binary(max_size=50), max_size=3),
)
slots = st.builds(
    Slot,
    id=st.uuids(),
    name=words,
    rack=words,
    chassis=words,
    unit=st.none() | small,
    blade=st.none() | small,
    role=words,
    params=st.dictionaries(words, plain, max_size=3),
    cluster=words,
    implicit=st.booleans(),
)
machines = st.builds(
    Machine,
    id=st.uuids(),
    slot=slots,
    state=st.sampled_from(State),
    interfaces=st.lists(
        st.builds(Interface, st.uuids(), macs, st.booleans(), words, words),
        max_size=3,
        unique_by=(lambda nic: nic.mac, lambda nic: nic.id),
    ).map(tuple),
    addresses=st.lists(addresses, max_size=3, unique_by=(lambda at: at.ip, lambda at: at.id)).map(tuple),
    vendor=words,
    model=words,
    serial=words,
    uuid=st.none() | st.uuids(),
    firmware=words,
    labels=st.dictionaries(words, words, max_size=3),
    state_reason=words,
    state_at=times,
    install=st.none() | installs,
)


class Undo(Exception):
    """Rolls a transaction back, so that examples don't meet each other."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=machines, second=machines)
def test_what_was_put_is_what_is_read(store: SqlStore, first: Machine, second: Machine) -> None:
    """Inserted, then replaced by anything else with the same id and install."""
    first = replace(first, slot=replace(first.slot, implicit=True))
    same_install = (
        replace(second.install, id=first.install.id, files=first.install.files)
        if (first.install and second.install)
        else second.install
    )
    second = replace(second, id=first.id, install=same_install)
    with pytest.raises(Undo), store.transaction("cli:test") as tx:
        for item in (first, second):
            put = tx.machines.put(item)
            assert replace(put, version=0, slot=replace(put.slot, version=0)) == replace(
                item, version=0, slot=replace(item.slot, version=0)
            )
            assert tx.machines.get(str(item.id)) == put
            bare = replace(put.install, files={}) if put.install else None
            assert tx.machines.list() == [replace(put, install=bare)]
        raise Undo


def test_a_machine_is_found_by_name_id_mac_and_address(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        put = tx.machines.put(machine())
        tx.machines.put(machine("node-02", "52:54:00:00:00:02", "10.12.1.18"))
        for ref in ("node-01", str(put.id), "52:54:00:12:34:56", "5254.0012.3456", "10.12.1.17"):
            assert tx.machines.find(ref) == put
        assert tx.machines.find("nobody") is None
        with pytest.raises(NotFound, match=r"no machine 'nobody'; .*provisioner machine list"):
            tx.machines.get("nobody")


def taken_mac(other: Machine) -> dict[str, Any]:
    return {"interfaces": other.interfaces}


def taken_address(other: Machine) -> dict[str, Any]:
    return {"addresses": (Address(uuid4(), other.addresses[0].ip),)}


def taken_name(other: Machine) -> dict[str, Any]:
    return {"slot": Slot(uuid4(), other.name)}


def taken_slot(other: Machine) -> dict[str, Any]:
    return {"slot": replace(other.slot, name="free")}


@pytest.mark.rule("fault-09")
@pytest.mark.parametrize(
    ("clash", "field", "value"),
    [
        (taken_mac, "mac", "52:54:00:12:34:56"),
        (taken_address, "ip", "10.12.1.17"),
        (taken_name, "name", "node-01"),
        (taken_slot, "slot", None),
    ],
)
def test_a_taken_value_is_refused_naming_field_value_and_holder(
    store: SqlStore, clash: Any, field: str, value: str | None
) -> None:
    holder = machine()
    with store.transaction("cli:test") as tx:
        tx.machines.put(holder)
    late = replace(machine("node-02", "52:54:00:00:00:02", "10.12.1.18"), **clash(holder))
    with pytest.raises(Conflict) as refused, store.transaction("cli:test") as tx:
        tx.machines.put(late)
    assert refused.value.field == field
    assert str(refused.value.value) == (value or str(holder.slot.id))
    assert refused.value.holder == "machine node-01"
    assert "provisioner machine show node-01" in refused.value.remedy
    with store.reading() as tx:
        assert [found.name for found in tx.machines.list()] == ["node-01"]


def test_one_machine_cannot_have_a_value_twice(store: SqlStore) -> None:
    nic = machine().interfaces[0]
    twice = machine(interfaces=(nic, replace(nic, id=uuid4())))
    with pytest.raises(InvalidValue, match=r"mac '52:54:00:12:34:56' is given twice"), store.transaction("x") as tx:
        tx.machines.put(twice)


def test_an_unknown_bmc_is_refused(store: SqlStore) -> None:
    with pytest.raises(NotFound, match="no bmc"), store.transaction("x") as tx:
        tx.machines.put(machine(bmc_id=uuid4()))


def test_several_changes_are_written_together_or_not_at_all(store: SqlStore) -> None:
    with pytest.raises(Conflict), store.transaction("cli:import") as tx:
        tx.machines.put(machine("node-01"))
        tx.machines.put(machine("node-02", "52:54:00:00:00:02", "10.12.1.18"))
        tx.machines.put(machine("node-03", "52:54:00:12:34:56", "10.12.1.19"))
    assert store.inventory().machines == {}
    assert store.inventory().seq == 0


def test_intent_counts_the_version_up_and_facts_do_not(store: SqlStore) -> None:
    bmc = Bmc(uuid4(), "10.9.0.1")
    with store.transaction("cli:test") as tx:
        tx.bmcs.put(bmc)
        put = tx.machines.put(machine())
        assert put.version == 1
        facts = replace(put, state=State.ACTIVE, state_reason="x", uuid=uuid4(), firmware="bios", install=install())
        assert tx.machines.put(facts).version == 1
        edits: tuple[dict[str, Any], ...] = (
            {"labels": {"a": "b"}},
            {"bmc_id": bmc.id},
            {"vendor": "V"},
            {"serial": "S"},
            {"slot": replace(put.slot, params={"size": 3})},
            {"interfaces": (*put.interfaces, Interface(uuid4(), Mac.parse("52:54:00:00:00:09")))},
            {"addresses": (Address(uuid4(), ip_address("10.12.1.99")),)},
        )
        for number, edit in enumerate(edits, start=2):
            edited = tx.machines.put(replace(tx.machines.get("node-01"), **edit))
            assert edited.version == number
        assert edited.slot.version == 3


def test_an_edit_of_something_changed_meanwhile_is_refused(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        first = tx.machines.put(machine())
        tx.machines.put(replace(first, labels={"by": "ann"}), expect_version=1)
    with (
        pytest.raises(StaleEdit, match=r"node-01 is at version 2, not 1.*read it again"),
        store.transaction("x") as tx,
    ):
        tx.machines.put(replace(first, labels={"by": "bob"}), expect_version=1)
    with pytest.raises(StaleEdit, match="was removed"), store.transaction("x") as tx:
        tx.machines.remove(first.id)
        tx.machines.put(first, expect_version=2)
    with store.reading() as tx:
        assert tx.machines.get("node-01").labels == {"by": "ann"}


def test_progress_leaves_version_intent_and_compiled_files_alone(store: SqlStore) -> None:
    armed = machine(state=State.ARMED, install=install(files={"boot.ipxe": b"#!ipxe"}))
    with store.transaction("cli:test") as tx:
        put = tx.machines.put(armed)
    assert put.install is not None
    moved_install = replace(
        put.install, attempts=1, boots=2, attempt_boot=2, phase=Phase.KERNEL, percent=5, phase_at=NOW, files={}
    )
    moved = replace(
        put,
        state=State.INSTALLING,
        state_reason="started",
        state_at=NOW,
        firmware="bios",
        labels={"not": "written"},
        install=moved_install,
    )
    with store.transaction("machine") as tx:
        tx.machines.put_progress(moved)
    expected = replace(moved, labels=put.labels, install=replace(moved_install, files={"boot.ipxe": b"#!ipxe"}))
    with store.reading() as tx:
        assert tx.machines.get("node-01") == expected
    with pytest.raises(NotFound), store.transaction("machine") as tx:
        tx.machines.put_progress(machine("ghost"))


def test_a_new_install_replaces_the_last_one_which_keeps_its_phases(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        put = tx.machines.put(machine(install=install(files={"a": b"1"})))
        tx.machines.put_phase(PhaseRecord(UUID(int=1), Phase.DISK, 5, 6))
        again = tx.machines.put(replace(put, install=install(id=UUID(int=2), files={"b": b"2"})))
        assert again.version == put.version
        found = tx.machines.get("node-01")
        assert found.install == install(id=UUID(int=2), files={"b": b"2"})
        assert [record.phase for record in tx.machines.phases(UUID(int=1))] == [Phase.DISK]


def test_phases_keep_their_first_time_and_move_their_last(store: SqlStore) -> None:
    with store.transaction("machine") as tx:
        tx.machines.put(machine(install=install()))
        tx.machines.put_phase(PhaseRecord(UUID(int=1), Phase.KERNEL, 10, 10, None, "kernel read"))
        tx.machines.put_phase(PhaseRecord(UUID(int=1), Phase.IMAGE, 20, 20, 1, "began"))
        tx.machines.put_phase(PhaseRecord(UUID(int=1), Phase.IMAGE, 30, 30, 50, "half"))
        expected = [
            PhaseRecord(UUID(int=1), Phase.KERNEL, 10, 10, None, "kernel read"),
            PhaseRecord(UUID(int=1), Phase.IMAGE, 20, 30, 50, "half"),
        ]
        assert tx.machines.phases(UUID(int=1)) == expected
        assert tx.machines.phases_of([UUID(int=1), UUID(int=2)]) == {UUID(int=1): expected}


def test_a_removed_machine_gives_its_name_macs_and_addresses_back(store: SqlStore) -> None:
    with store.transaction("cli:test") as tx:
        put = tx.machines.put(machine(install=install(files={"a": b"1"})))
        tx.machines.put_phase(PhaseRecord(UUID(int=1), Phase.DISK, 5, 6))
        tx.machines.remove(put.id)
        with pytest.raises(NotFound):
            tx.machines.remove(put.id)
        tx.machines.put(machine())


def test_every_change_has_an_actor_and_says_what_changed(store: SqlStore) -> None:
    with store.transaction("user:ann") as tx:
        put = tx.machines.put(machine())
    with store.transaction("token:ci") as tx:
        tx.machines.put(replace(put, slot=replace(put.slot, role="worker")))
        tx.actor = "cli:bob"
        tx.machines.remove(put.id)
    with store.engine.connect() as connection:
        rows = connection.execute(select(tables.audit).order_by(tables.audit.c.id)).all()
    assert [(row.actor, row.action, row.name) for row in rows] == [
        ("user:ann", "put", "node-01"),
        ("token:ci", "put", "node-01"),
        ("cli:bob", "remove", "node-01"),
    ]
    assert rows[0].fields["macs"] == [None, "52:54:00:12:34:56"]
    assert rows[1].fields == {"role": ["simple", "worker"]}


def test_a_view_for_reading_writes_nothing(store: SqlStore) -> None:
    with store.reading() as tx, pytest.raises(RuntimeError, match="opened for reading"):
        tx.machines.put(machine())
    assert store.inventory().machines == {}
