"""A machine that nobody listed, from its first DISCOVER until it is ready: by each of the subnet's policies."""

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from provisioner.actions import enrol, newcomers, subnets
from provisioner.actions.front import Front
from provisioner.dhcp.decision import Mode
from provisioner.dhcp.leases import Sight
from provisioner.dhcp.packet import Packet, decode
from provisioner.dhcp.respond import Context, Decision, handle
from provisioner.domain.errors import IllegalTransition, InvalidValue, NotAdmitted
from provisioner.domain.mac import Mac
from provisioner.domain.machine import State
from provisioner.storage.observer import EventWriter
from tests.dhcp.rack import DISCOVER, SYSTEM, Asker, ipxe, pxe
from tests.web.appliance import SERVER, Appliance, make_appliance

NEWCOMER = Mac.parse("52:54:00:aa:00:01")
NAME = "server-525400aa0001"
ROM = Asker(pxe(7).options, NEWCOMER)
LOADER = Asker(ipxe(7).options, NEWCOMER)
CONTEXT = Context("eth1", IPv4Address(SERVER), loaders=frozenset({"snponly.efi", "undionly.kpxe"}))
LEASED = "10.12.9.1"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    yield from make_appliance(tmp_path)


def policy(appliance: Appliance, unknown: str) -> None:
    fields = {"unknown": unknown, "pools": "10.12.9.1-10.12.9.9"}
    subnets.put_subnet(appliance.store, "10.12.0.0/16", fields, actor="test", now=appliance.clock())


def asks(
    appliance: Appliance, who: Asker, context: Context = CONTEXT, **fields: Any
) -> tuple[Decision, Packet | None]:
    """One DISCOVER as the packets service takes it: decided, and what was seen is written."""
    decision = handle(who.bytes(DISCOVER, **fields), appliance.store.inventory(), context, appliance.clock())
    writer = EventWriter(appliance.store.real, "packets")
    for effect in decision.effects:
        if isinstance(effect, Sight):
            writer.sight(effect.sighting)
    writer.close()
    return decision, decode(decision.reply.packet) if decision.reply else None


def names(appliance: Appliance) -> list[str]:
    return sorted(machine.name for machine in appliance.store.inventory().machines.values())


def test_a_card_that_another_machine_was_named_by_is_listed_under_a_name_of_its_own(appliance: Appliance) -> None:
    """The board of a machine that nobody named was replaced, and its old card boots elsewhere."""
    policy(appliance, "enrol")
    asks(appliance, ROM)
    change(appliance, mac="52:54:00:aa:00:99")
    asks(appliance, ROM)
    assert names(appliance) == [NAME, f"{NAME}-2"]


def change(appliance: Appliance, **fields: str) -> Any:
    return enrol.change_machine(appliance.store, NAME, fields, actor="test", now=appliance.clock())


def query(**more: str) -> dict[str, str]:
    return {"mac": NEWCOMER.hexhyp, "net0": NEWCOMER.hexhyp, **more}


def front(appliance: Appliance) -> Front:
    p = appliance.parts
    return Front(p.store, p.snapshot, p.observer, p.journal, p.token_key, p.neighbour, p.compiler)


def test_ignored_newcomers_are_noted_and_nothing_else(appliance: Appliance) -> None:
    policy(appliance, "ignore")
    decision, reply = asks(appliance, ROM)
    assert reply is None
    assert "ignores such machines" in decision.reason
    assert names(appliance) == []
    with appliance.store.reading() as tx:
        assert [sighting.mac for sighting in tx.sightings()] == [NEWCOMER]


def test_with_an_address_only_nothing_is_booted_and_nobody_listed(appliance: Appliance) -> None:
    policy(appliance, "address")
    _, reply = asks(appliance, ROM)
    assert reply is not None
    assert (str(reply.yiaddr), reply.file) == (LEASED, b"")
    assert names(appliance) == []


@pytest.mark.parametrize("unknown", ["enrol", "approve"])
def test_only_who_boots_from_the_network_is_listed(appliance: Appliance, unknown: str) -> None:
    policy(appliance, unknown)
    _, reply = asks(appliance, Asker(SYSTEM.options, NEWCOMER))
    assert reply is not None
    assert names(appliance) == []


def test_enrolled_from_discover_to_ready(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    _, offer = asks(appliance, ROM)
    assert offer is not None
    assert (str(offer.yiaddr), offer.file) == (LEASED, b"snponly.efi")
    came = appliance.machine(NAME)
    assert (came.state, came.state_reason) == (State.NEW, "lacks a role and an address")
    assert (came.macs, came.firmware, came.interfaces[0].source) == ((NEWCOMER,), "uefi-x64", "dhcp")
    assert "came by itself and was listed" in appliance.events(NAME)[0].message

    _, offer = asks(appliance, LOADER)
    assert offer is not None, "listed, it still gets an address of the pool"
    assert offer.file.startswith(b"http://10.12.0.1/boot.ipxe?mac=52-54-00-aa-00-01")
    machine = appliance.client(LEASED)
    script = machine.get("/boot.ipxe", params=query()).text
    assert "chain http://10.12.0.1/discovered?mac=${mac:hexhyp}&net0=${net0/mac:hexhyp}" in script

    told = query(
        net1="52-54-00-aa-00-02",
        net2="",
        manufacturer="QEMU",
        product="Standard PC",
        serial="S/1 ",
        uuid="c4c1c0de-0000-4000-8000-000000000001",
    )
    assert machine.get("/discovered", params=told).text == "#!ipxe\nkernel http://10.12.0.1:8081/look\nboot\n"
    known = appliance.machine(NAME)
    assert (known.vendor, known.model, known.serial) == ("QEMU", "Standard PC", "S/1")
    assert str(known.uuid) == "c4c1c0de-0000-4000-8000-000000000001"
    assert [(str(nic.mac), nic.boot, nic.source) for nic in known.interfaces] == [
        (str(NEWCOMER), True, "dhcp"),
        ("52:54:00:aa:00:02", False, "discovery"),
    ]

    assert change(appliance, role="simple", ip="10.12.1.30").state is State.READY
    _, offer = asks(appliance, ROM)
    assert offer is not None
    assert str(offer.yiaddr) == "10.12.1.30"


def test_who_waits_for_approval_becomes_ready_by_it_only(appliance: Appliance) -> None:
    policy(appliance, "approve")
    asks(appliance, ROM)
    waiting = appliance.machine(NAME)
    assert (waiting.state, waiting.approved) == (State.NEW, False)
    assert waiting.state_reason == "lacks a role and an address and an operator's approval"
    assert f"`provisioner machine approve {NAME}" in appliance.events(NAME)[0].message

    machine = appliance.client(LEASED)
    assert "waits for approval" in machine.get("/boot.ipxe", params=query()).text
    screen = machine.get("/discovered", params=query(serial="77")).text
    assert "waits for" in screen
    assert "kernel" not in screen
    assert appliance.machine(NAME).serial == "77", "what it is made of helps to decide"

    assert change(appliance, role="simple", ip="10.12.1.30").state is State.NEW, "a role alone is no approval"
    with pytest.raises(IllegalTransition, match=f"`provisioner machine approve {NAME}"):
        appliance.arm(NAME)
    approved = newcomers.approve(appliance.store, NAME, actor="cli:ada", now=appliance.clock())
    assert (approved.state, approved.approved) == (State.READY, True)
    assert appliance.events(NAME)[-1].message.endswith("approved by the operator; has a role and an address")
    appliance.arm(NAME)
    with pytest.raises(IllegalTransition, match="needs no approval"):
        newcomers.approve(appliance.store, NAME, actor="cli:ada", now=appliance.clock())


def test_approval_may_state_role_and_address_and_fails_as_a_whole(appliance: Appliance) -> None:
    policy(appliance, "approve")
    asks(appliance, ROM)
    with pytest.raises(InvalidValue, match="lies in a dynamic pool"):
        newcomers.approve(appliance.store, NAME, {"ip": "10.12.9.5"}, actor="cli:ada", now=appliance.clock())
    assert not appliance.machine(NAME).approved
    right = {"name": "node-30", "role": "simple", "ip": "10.12.1.30"}
    done = newcomers.approve(appliance.store, NAME, right, actor="cli:ada", now=appliance.clock())
    assert (done.name, done.state) == ("node-30", State.READY)


def test_without_a_role_that_discovers_the_screen_says_so(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    asks(appliance, ROM)
    appliance.parts.compiler.looks = None  # type: ignore[attr-defined]
    screen = appliance.client(LEASED).get("/discovered", params=query()).text.replace("\necho Provisioner:", "")
    assert f"listed as {NAME}, and no role `discover` is there" in screen.replace("'", "`")


def test_a_newcomer_is_looked_at_once_with_the_address_it_was_lent_and_its_facts_are_kept(
    appliance: Appliance,
) -> None:
    policy(appliance, "enrol")
    asks(appliance, ROM)
    appliance.parts.compiler.asks_back = True  # type: ignore[attr-defined]
    appliance.neighbours[LEASED] = str(NEWCOMER)
    machine = appliance.client(LEASED)
    script = machine.get("/discovered", params=query()).text
    found = re.search(r"http://10\.12\.0\.1(/b/live\.discover\.[^/]+)/", script)
    assert found, script
    assert machine.get(f"{found[1]}/rescue.yml").text == "for a look\n"
    assert machine.post(f"{found[1]}/progress", json={"phase": "disk", "message": "looking"}).status_code == 200
    assert machine.post(f"{found[1]}/log", content='{"memory_kib": 1024}').status_code == 200
    assert machine.post(f"{found[1]}/complete", json={}).status_code == 200

    said = appliance.events(NAME)
    assert [e.message for e in said if "looking" in e.message] == ["discover from memory: looking"]
    assert [e.data["text"] for e in said if e.kind == "report.log"] == ['{"memory_kib": 1024}']
    listed = appliance.machine(NAME)
    assert (listed.state, listed.install, listed.addresses) == (State.NEW, None, ())
    again = machine.get("/discovered", params=query()).text
    assert "kernel" not in again and "machine log" in again

    for path in ("/rescue.yml", "/log"):
        ask = machine.get if path.endswith("yml") else machine.post
        appliance.neighbours[LEASED] = "52:54:00:aa:00:99"
        assert ask(f"{found[1]}{path}").status_code == 403
        del appliance.neighbours[LEASED]
        assert ask(f"{found[1]}{path}").status_code == 403, "not on our wire: nobody vouches for it"
        appliance.neighbours[LEASED] = str(NEWCOMER)
        assert ask(f"{found[1].replace('discover', 'rescue')}{path}").status_code == 403


def test_a_loader_speaks_for_its_own_machine_only(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    asks(appliance, ROM)
    appliance.add("other", "52:54:00:aa:00:07", "10.12.1.40")
    appliance.neighbours[LEASED] = "52:54:00:aa:00:99"
    assert appliance.client(LEASED).get("/discovered", params=query(serial="1")).status_code == 403
    appliance.neighbours[LEASED] = str(NEWCOMER)
    # A ready machine is not described by whoever asks; and a card that is another's stays there.
    other = appliance.client("10.12.1.40").get("/discovered", params={"mac": "52-54-00-aa-00-07", "serial": "9"})
    assert (other.status_code, appliance.machine("other").serial) == (403, "")
    assert appliance.client(LEASED).get("/discovered", params=query(net1="52-54-00-aa-00-07")).status_code == 200
    assert appliance.machine(NAME).macs == (NEWCOMER,)
    for wrong in ({"mac": ""}, {"mac": "zz"}, {"uuid": "zz"}, {"net3": "zz"}):
        assert appliance.client(LEASED).get("/discovered", params=query() | wrong).status_code == 400


def test_what_an_operator_stated_is_not_overwritten(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    asks(appliance, ROM)
    change(appliance, serial="label 5", vendor="Maker")
    for _ in range(2):
        appliance.client(LEASED).get("/discovered", params=query(serial="0000", manufacturer="OEM", product="X"))
    known = appliance.machine(NAME)
    assert (known.vendor, known.model, known.serial) == ("Maker", "X", "label 5")
    told = [event.message for event in appliance.events(NAME) if "told by its loader" in event.message]
    assert told == ["told by its loader: model (none) → X"]


def test_a_flood_of_newcomers_ends_at_a_bound(appliance: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "MOST", 2)
    policy(appliance, "enrol")
    for number in range(1, 5):
        asks(appliance, Asker(ROM.options, Mac(bytes((0x52, 0x54, 0, 0xBB, 0, number)))))
    assert len(names(appliance)) == 2
    with appliance.store.reading() as tx:
        said = [event.message for event in tx.events.list()]
    assert sum("is not listed: 2 machines that came by themselves wait already" in each for each in said) == 2


def test_beside_another_server_newcomers_are_listed_too(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    _, offer = asks(appliance, LOADER, replace(CONTEXT, mode=Mode.PROXY))
    assert offer is not None
    assert offer.file.startswith(b"http://10.12.0.1/boot.ipxe")
    assert names(appliance) == [NAME]


def test_where_a_relay_says_that_it_is_plugged_in_is_kept(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    asks(
        appliance,
        Asker({**ROM.options, 82: b"\x01\x0417/1\x02\x03sw3"}, NEWCOMER),
        giaddr=IPv4Address("10.12.0.254"),
    )
    assert appliance.machine(NAME).interfaces[0].switch_port == "sw3 17/1"


def test_an_unlisted_machine_that_is_not_to_be_discovered_is_refused(appliance: Appliance) -> None:
    policy(appliance, "ignore")
    with pytest.raises(NotAdmitted, match="is not to be discovered"):
        newcomers.describe_newcomer(front(appliance), newcomers.told(query()), IPv4Address(LEASED), 1)
    policy(appliance, "enrol")
    machine, _ = newcomers.describe_newcomer(front(appliance), newcomers.told(query()), IPv4Address(LEASED), 1)
    assert machine.name == NAME, "its DHCP may not have been written yet"
