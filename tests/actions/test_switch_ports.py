"""Where a relay says that a machine is plugged in, as its identity: "slot 17 is switch sw3 port 17"."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from provisioner.actions import arm, enrol, slots, subnets
from provisioner.dhcp.leases import Sight
from provisioner.dhcp.packet import decode
from provisioner.dhcp.respond import Context, handle
from provisioner.domain.errors import Conflict, InvalidValue
from provisioner.domain.events import Event
from provisioner.domain.mac import Mac
from provisioner.domain.machine import State
from provisioner.storage.observer import EventWriter
from tests.dhcp.rack import DISCOVER, SYSTEM, Asker, pxe
from tests.web.appliance import SERVER, Appliance, make_appliance

BOARD = Mac.parse("52:54:00:aa:00:01")
OTHER = Mac.parse("52:54:00:aa:00:02")
CONTEXT = Context("eth1", IPv4Address(SERVER), loaders=frozenset({"snponly.efi", "undionly.kpxe"}))
RELAY = IPv4Address("10.12.0.254")


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    yield from make_appliance(tmp_path)


def boots(appliance: Appliance, mac: Mac, port: int, options: Any = None) -> str:
    """A DISCOVER by the relay on switch sw3, with everything written that follows from it. The address offered."""
    agent = b"\x01\x02%02d\x02\x03sw3" % port
    asker = Asker({**(options or pxe(7).options), 82: agent}, mac)
    decision = handle(asker.bytes(DISCOVER, giaddr=RELAY), appliance.store.inventory(), CONTEXT, appliance.clock())
    writer = EventWriter(appliance.store.real, "packets")
    for effect in decision.effects:
        if isinstance(effect, Sight):
            writer.sight(effect.sighting)
    data = {"switch_port": decision.switch_port}
    writer.observe(
        Event(
            decision.kind,
            decision.reason,
            appliance.clock(),
            decision.machine_id,
            mac,
            decision.phase,
            "dhcp",
            data,
        )
    )
    writer.close()
    return str(decode(decision.reply.packet).yiaddr) if decision.reply else ""


def slot(appliance: Appliance, **fields: str) -> None:
    fields = {"name": "node-17", "ip": "10.12.1.17", "role": "simple", "switch_port": "sw3 17"} | fields
    slots.add_slot(appliance.store, fields, actor="test", now=appliance.clock())


def policy(appliance: Appliance, unknown: str) -> None:
    fields = {"unknown": unknown, "pools": "10.12.9.1-10.12.9.9"}
    subnets.put_subnet(appliance.store, "10.12.0.0/16", fields, actor="test", now=appliance.clock())


def test_an_unknown_board_on_an_empty_slots_port_is_that_slots_machine(appliance: Appliance) -> None:
    slot(appliance)
    assert boots(appliance, BOARD, 17) == "", "nobody knew it yet; it asks again"
    machine = appliance.machine("node-17")
    assert (machine.macs, machine.state, machine.interfaces[0].switch_port) == ((BOARD,), State.READY, "sw3 17")
    assert machine.slot.role == "simple"
    assert boots(appliance, BOARD, 17) == "10.12.1.17"
    assert (
        "came by itself on switch port sw3 17, which is slot node-17: it has 10.12.1.17 and role simple"
        in appliance.events("node-17")[0].message
    )
    boots(appliance, OTHER, 18)
    assert appliance.store.inventory().by_mac(OTHER) is None, "another port says nothing"


def test_another_board_on_a_taken_slots_port_is_quarantined_with_the_reason(appliance: Appliance) -> None:
    policy(appliance, "enrol")
    slot(appliance)
    boots(appliance, BOARD, 17)
    boots(appliance, OTHER, 17)
    newcomer = appliance.machine("server-525400aa0002")
    assert newcomer.state is State.QUARANTINED
    assert newcomer.state_reason == (
        f"boots from switch port sw3 17, which is slot node-17, where {BOARD} sits; if its board was replaced, "
        "`provisioner machine accept server-525400aa0002` and then "
        f"`provisioner slot replace node-17 --mac {OTHER}`"
    )
    arm.accept(appliance.store, newcomer.name, actor="test", now=appliance.clock())
    replaced = slots.replace_board(
        appliance.store, "node-17", {"mac": str(OTHER)}, actor="test", now=appliance.clock()
    )
    assert (replaced.macs, str(replaced.ip)) == ((OTHER,), "10.12.1.17")


def test_a_machine_that_boots_from_anothers_port_is_quarantined_until_somebody_looks(appliance: Appliance) -> None:
    slot(appliance)
    boots(appliance, BOARD, 17)
    appliance.arm("node-17")
    boots(appliance, BOARD, 18)
    moved = appliance.machine("node-17")
    assert moved.state is State.QUARANTINED
    assert moved.state_reason.startswith(
        "boots from switch port sw3 18, but the place node-17 is wired to sw3 17; move the cable, "
    )
    assert moved.install is not None
    assert moved.install.outcome == "quarantined", "nothing of what was compiled is handed out"
    script = appliance.client("10.12.1.17").get("/boot.ipxe", params={"mac": BOARD.hexhyp}).text
    assert "sw3 18" in script
    assert "/b/" not in script

    accepted = arm.accept(appliance.store, "node-17", actor="test", now=appliance.clock())
    assert (accepted.state, accepted.slot.switch_port) == (State.READY, "sw3 18"), "it is right where it is"
    boots(appliance, BOARD, 18)
    assert appliance.machine("node-17").state is State.READY


def test_a_running_system_is_left_alone(appliance: Appliance) -> None:
    slot(appliance)
    boots(appliance, BOARD, 17)
    boots(appliance, BOARD, 18, SYSTEM.options)
    machine = appliance.machine("node-17")
    assert (machine.state, machine.interfaces[0].switch_port) == (State.READY, "sw3 18")


def test_where_no_port_is_stated_a_move_is_only_noted(appliance: Appliance) -> None:
    appliance.add("node-18", str(BOARD), "10.12.1.18")
    for port in (17, 18):
        boots(appliance, BOARD, port)
    machine = appliance.machine("node-18")
    assert (machine.state, machine.boot_port) == (State.READY, "sw3 18")


def test_one_port_is_one_place(appliance: Appliance) -> None:
    slot(appliance)
    with pytest.raises(Conflict, match=r"switch_port 'sw3 17' already belongs to slot node-17") as refused:
        appliance.add("node-18", str(BOARD), "10.12.1.18", switch_port="sw3  17 ")
    assert "change it there" in refused.value.remedy
    appliance.add("node-18", str(BOARD), "10.12.1.18", switch_port="sw3 18")
    with pytest.raises(InvalidValue, match="is no switch port; write it as"):
        enrol.change_machine(
            appliance.store, "node-18", {"switch_port": "sw\x003"}, actor="test", now=appliance.clock()
        )
    changed = enrol.change_machine(
        appliance.store, "node-18", {"switch_port": ""}, actor="test", now=appliance.clock()
    )
    assert changed.slot.switch_port == ""
