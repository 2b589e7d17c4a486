"""Addresses and names by rule: explained, stable, refused when they cannot hold."""

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.domain.allocation import Rule, parse_plan, plan
from provisioner.domain.errors import InvalidValue
from provisioner.domain.expression import parse
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, Machine, State
from provisioner.domain.subnet import AddressRange
from tests.domain.samples import machine, subnet

NET = IPv4Network("10.12.1.0/24")


def racked(count: int) -> list[Machine]:
    made = []
    for index in range(count):
        one = machine(f"server-{index}", f"52:54:00:00:01:{index:02x}", "", role="")
        made.append(replace(one, slot=replace(one.slot, rack="r1", unit=count - index)))
    return made


def placed(name: str, number: int, ip: str = "", **place: Any) -> Machine:
    one = machine(name, str(Mac.from_wire((0x5254_0000_0000 | number).to_bytes(6, "big"))), ip)
    return replace(one, slot=replace(one.slot, **place))


def behind(*addresses: str) -> tuple[list[Machine], dict[UUID, str]]:
    """A machine behind each BMC."""
    bmcs = {uuid4(): address for address in addresses}
    made = [replace(placed(f"blade-{n}", n, blade=n), bmc_id=bmc) for n, bmc in enumerate(bmcs)]
    return made, bmcs


def only(ip: str) -> AddressRange:
    return AddressRange(IPv4Address(ip), IPv4Address(ip))


def test_addresses_follow_the_order_of_slots_and_skip_what_is_taken() -> None:
    taken = machine("old", "52:54:00:00:02:01", "10.12.1.11")
    made = plan(
        Inventory.build([*racked(3), taken], [subnet()]),
        Rule(NET, IPv4Address("10.12.1.10"), exclude=(only("10.12.1.12"),), role="simple"),
    )
    assert [(row.machine, row.ip, row.role, row.changed) for row in made.rows] == [
        ("old", "10.12.1.11", "simple", False),
        ("server-2", "10.12.1.10", "simple", True),
        ("server-1", "10.12.1.13", "simple", True),
        ("server-0", "10.12.1.14", "simple", True),
    ]
    assert made.rows[0].why == "keeps 10.12.1.11"


def test_the_gateway_is_never_given_away() -> None:
    made = plan(Inventory.build(racked(2), [subnet()]), Rule(NET))
    assert [row.ip for row in made.rows] == ["10.12.1.2", "10.12.1.3"]


def test_names_come_from_a_pattern_and_twice_the_same_is_a_conflict() -> None:
    made = plan(Inventory.build(racked(2), [subnet()]), Rule(NET, name="node-{index:02}"))
    assert [row.name for row in made.rows] == ["node-01", "node-02"]
    twice = plan(Inventory.build(racked(2), [subnet()]), Rule(NET, name="node"))
    assert [row.conflict for row in twice.rows] == [
        "node also goes to server-0",
        "node also goes to server-1",
    ]
    for pattern in ("{index.__class__}", "{index!r}", "{0}", "node-{index:>99}", "Node", "a b", "{rack:02}{"):
        with pytest.raises(InvalidValue, match="name pattern"):
            plan(Inventory.build(racked(2), [subnet()]), Rule(NET, name=pattern))


def test_the_index_counts_within_the_rest_of_the_name() -> None:
    machines = [placed(f"m{n}", n, rack=rack, unit=n) for n, rack in enumerate(("R1", "R1", "Row 2", "R1"))]
    made = plan(Inventory.build(machines, [subnet()]), Rule(NET, name="core-{rack}-{index:02}"))
    assert [row.name for row in made.rows] == ["core-r1-01", "core-r1-02", "core-r1-03", "core-row-2-01"]
    made = plan(Inventory.build(machines, [subnet()]), Rule(NET, name="{rack}u{unit:02}"))
    assert [row.name for row in made.rows] == ["r1u00", "r1u01", "r1u03", "row-2u02"]
    made = plan(Inventory.build(machines, [subnet()]), Rule(NET, name="{rack}-b{blade}"))
    assert {row.conflict for row in made.rows} == {
        f"the pattern wants a blade, which m{n} has not" for n in range(4)
    }


def test_a_full_subnet_names_the_machine_that_has_no_room() -> None:
    small = IPv4Network("10.12.1.0/30")
    made = plan(Inventory.build(racked(2), [subnet("10.12.1.0/30")]), Rule(small))
    assert [(row.machine, row.ip, row.conflict) for row in made.rows] == [
        ("server-1", "10.12.1.2", ""),
        ("server-0", "", "subnet 10.12.1.0/30 has no address left; widen it or start at a lower address"),
    ]


def test_the_seeds_rule_for_blades() -> None:
    """One chassis a third octet, 28 blades each: Yoo-Installer's rule, spelled as arithmetic."""
    machines, bmcs = behind(*(f"10.12.{third}.{fourth}" for third in (202, 203) for fourth in (1, 28)))
    rule = Rule(NET, expression=parse("10.12.1.((b3-202)*28 + b4)"))
    made = plan(Inventory.build(machines, [subnet()]), rule, bmcs)
    assert [row.ip for row in made.rows] == ["", "10.12.1.28", "10.12.1.29", "10.12.1.56"]
    assert made.rows[2].why == "10.12.1.((b3-202)*28 + b4) with b3=203, b4=1"
    # 10.12.1.1 is the gateway: the plan says so instead of giving it away.
    assert "10.12.1.1 belongs to the gateway" in made.rows[0].conflict
    assert [bool(row.conflict) for row in made.rows] == [True, False, False, False]


def test_the_offset_from_the_bmc_gives_the_same_place_in_another_net() -> None:
    machines, bmcs = behind("10.12.200.17", "10.12.200.250", "10.12.201.4")
    rule = Rule(NET, IPv4Address("10.12.1.10"), bmc_base=IPv4Address("10.12.200.10"))
    made = plan(Inventory.build([*machines, machine("bare", "52:54:00:00:09:09", "")], [subnet()]), rule, bmcs)
    rows = {row.machine: row for row in made.rows}
    assert (rows["blade-0"].ip, rows["blade-0"].why) == (
        "10.12.1.17",
        "BMC 10.12.200.17 is +7 from 10.12.200.10, so 10.12.1.10+7",
    )
    assert rows["blade-1"].ip == "10.12.1.250"
    assert "but 10.12.2.4 is not in 10.12.1.0/24" in rows["blade-2"].conflict
    assert "bare has no BMC" in rows["bare"].conflict


def test_two_machines_on_one_address_are_each_others_conflict() -> None:
    machines, bmcs = behind("10.12.202.7", "10.13.202.7")
    made = plan(Inventory.build(machines, [subnet()]), Rule(NET, expression=parse("10.12.1.b4")), bmcs)
    assert [row.conflict for row in made.rows] == [
        "10.12.1.7 also goes to blade-1",
        "10.12.1.7 also goes to blade-0",
    ]


def test_who_has_an_address_keeps_it_unless_renumbered() -> None:
    machines = [placed(f"m{n}", n, ip=f"10.12.1.{9 - n}", unit=n) for n in range(3)]
    inventory = Inventory.build(machines, [subnet()])
    assert [row.changed for row in plan(inventory, Rule(NET)).rows] == [False] * 3
    rule = Rule(NET, IPv4Address("10.12.1.7"), renumber=True)
    made = plan(inventory, rule)
    assert [(row.was, row.ip) for row in made.rows] == [
        ("10.12.1.9", "10.12.1.7"),
        ("10.12.1.8", "10.12.1.8"),
        ("10.12.1.7", "10.12.1.9"),
    ]
    asked = plan(inventory, Rule(NET, expression=parse("10.12.1.(40+unit)")))
    assert asked.rows[0].why.startswith("keeps 10.12.1.9; the rule gives 10.12.1.40")
    armed = inventory.with_machines({machines[0].id: replace(machines[0], state=State.ARMED)}, 1)
    rows = plan(armed, Rule(NET, expression=parse("10.12.1.(40+unit)"), renumber=True)).rows
    assert (rows[0].ip, rows[0].conflict) == (
        "10.12.1.9",
        "is armed: its install names 10.12.1.9; disarm it first",
    )


def test_a_machine_of_another_subnet_is_left_alone() -> None:
    there = machine("there", "52:54:00:00:03:01", "10.99.0.5")
    made = plan(Inventory.build([there], [subnet()]), Rule(NET))
    assert [(row.ip, row.why, row.changed) for row in made.rows] == [
        ("10.99.0.5", "keeps 10.99.0.5, outside 10.12.1.0/24", False)
    ]


def test_a_new_board_in_a_slot_moves_nobody() -> None:
    machines = [placed(f"m{n}", n, unit=n) for n in range(20)]
    before = plan(Inventory.build(machines, [subnet()]), Rule(NET))
    given = [
        replace(m, addresses=(Address(uuid4(), IPv4Address(row.ip)),))
        for m, row in zip(machines, before.rows, strict=True)
    ]
    given[17] = replace(given[17], interfaces=(Interface(uuid4(), Mac.parse("52:54:00:ff:ff:01")),))
    after = plan(Inventory.build(given, [subnet()]), Rule(NET))
    assert [row.ip for row in after.rows] == [row.ip for row in before.rows]
    assert not any(row.changed for row in after.rows)


@settings(max_examples=60)
@given(
    held=st.dictionaries(st.integers(0, 40), st.integers(2, 62), max_size=30),
    count=st.integers(0, 41),
    excluded=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)), max_size=4),
    renumber=st.booleans(),
    first=st.integers(0, 63),
)
def test_whatever_is_there_no_address_is_given_twice(
    held: dict[int, int], count: int, excluded: list[tuple[int, int]], renumber: bool, first: int
) -> None:
    net = IPv4Network("10.12.1.0/26")
    taken: set[int] = set()
    machines = []
    for number in range(count):
        host = held.get(number, 0)
        ip = f"10.12.1.{host}" if host and host not in taken else ""
        taken.add(host)
        machines.append(placed(f"m{number}", number, ip=ip, unit=number))
    ranges = tuple(AddressRange(net[min(pair)], net[max(pair)]) for pair in excluded)
    pool = AddressRange(net[50], net[55])
    listed = replace(subnet("10.12.1.0/26"), pools=(pool,))
    rule = Rule(net, net[first], ranges, renumber=renumber)
    made = plan(Inventory.build(machines, [listed]), rule)
    # A machine that the renumbering leaves no room for keeps its address, and the plan is not applicable.
    sound = [row for row in made.rows if not row.conflict]
    assert all(row.ip for row in sound)
    assert len({row.ip for row in sound}) == len(sound)
    assert not (made.conflicts and not renumber and any(row.ip for row in made.conflicts))
    for row in made.rows:
        if row.ip != row.was:
            ip = IPv4Address(row.ip)
            assert ip >= net[first]
            assert not any(ip in each for each in (*ranges, pool))
            assert ip not in (net[0], net[1], net[63])
    assert plan(Inventory.build(reversed(machines), [listed]), rule) == made


@pytest.mark.timeout(20)
def test_ten_thousand_machines_are_planned_in_two_seconds() -> None:
    machines = [placed(f"m{n:05}", n, rack=f"r{n // 40:03}", unit=n % 40) for n in range(10_000)]
    listed = subnet("10.0.0.0/16")
    rule = Rule(
        IPv4Network("10.0.0.0/16"),
        name="core-{rack}-{index:02}",
        exclude=(AddressRange(IPv4Address("10.0.4.0"), IPv4Address("10.0.7.255")),),
    )
    inventory = Inventory.build(machines, [listed])
    started = time.process_time()
    made = plan(inventory, rule)
    spent = time.process_time() - started
    assert len({row.ip for row in made.rows}) == len({row.name for row in made.rows}) == 10_000
    assert spent < 2, f"{spent:.2f} s"


def test_a_plan_survives_its_file_and_seals_its_basis() -> None:
    inventory = Inventory.build(racked(2), [subnet()])
    made = plan(inventory, Rule(NET))
    assert parse_plan(made.as_dict()) == made
    moved = inventory.with_machines({}, 1)
    assert plan(moved, Rule(NET)).basis == made.basis
    grown = Inventory.build([*inventory.machines.values(), machine()], inventory.subnets)
    assert plan(grown, Rule(NET)).basis != made.basis
    with pytest.raises(InvalidValue, match="is not an allocation plan"):
        parse_plan({"rows": [{"ip": "x"}]})
