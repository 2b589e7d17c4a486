"""Addresses and names by rule: explained, stable, refused when they cannot hold."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from provisioner.domain.allocation import Rule, parse_plan, plan
from provisioner.domain.errors import InvalidValue, Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Machine
from tests.domain.samples import machine, subnet

NET = IPv4Network("10.12.1.0/24")


def racked(count: int) -> list[Machine]:
    made = []
    for index in range(count):
        one = machine(f"server-{index}", f"52:54:00:00:01:{index:02x}", "", role="")
        made.append(replace(one, slot=replace(one.slot, rack="r1", unit=count - index)))
    return made


def test_addresses_follow_the_order_of_slots_and_skip_what_is_taken() -> None:
    taken = machine("old", "52:54:00:00:02:01", "10.12.1.11")
    made = plan(
        Inventory.build([*racked(3), taken], [subnet()]),
        Rule(NET, IPv4Address("10.12.1.10"), exclude=(IPv4Address("10.12.1.12"),), role="simple"),
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


def test_names_come_from_a_pattern_and_twice_the_same_is_refused() -> None:
    made = plan(Inventory.build(racked(2), [subnet()]), Rule(NET, name="node-{index:02}"))
    assert [row.name for row in made.rows] == ["node-01", "node-02"]
    with pytest.raises(InvalidValue, match="name pattern"):
        plan(Inventory.build(racked(2), [subnet()]), Rule(NET, name="node"))
    with pytest.raises(InvalidValue, match="name pattern"):
        plan(Inventory.build(racked(2), [subnet()]), Rule(NET, name="{index.__class__}"))


def test_a_full_subnet_names_the_machine_that_has_no_room() -> None:
    small = IPv4Network("10.12.1.0/30")
    with pytest.raises(Refused, match=r"10\.12\.1\.0/30 has no address left for server-0"):
        plan(Inventory.build(racked(2), [subnet("10.12.1.0/30")]), Rule(small))


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
