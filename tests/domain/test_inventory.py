"""The snapshot: found by every name, replaced one machine at a time."""

from dataclasses import replace
from ipaddress import ip_address
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac
from provisioner.domain.machine import Address, Interface, Machine
from tests.domain.samples import install, machine, subnet


def test_found_by_name_id_mac_in_any_spelling_and_address() -> None:
    one = machine()
    inventory = Inventory.build([one], [subnet()])
    for ref in ("node-01", str(one.id), "52:54:00:12:34:56", "5254.0012.3456", "10.12.1.17"):
        assert inventory.find(ref) is one
    assert inventory.find("node-02") is None


def test_the_most_specific_subnet_holds_an_address() -> None:
    inventory = Inventory.build([], [subnet("10.0.0.0/8"), subnet("10.12.1.0/24"), subnet("10.12.0.0/16")])
    found = inventory.subnet_of(ip_address("10.12.1.9"))
    assert found is not None
    assert str(found.prefix) == "10.12.1.0/24"


def test_two_nics_that_boot_at_once_never_share_an_address() -> None:
    second = Mac.parse("52:54:00:12:34:57")
    two = machine()
    two = replace(two, interfaces=(*two.interfaces, Interface(uuid4(), second, boot=False)))
    assert str(two.address_for(two.interfaces[0].mac)) == "10.12.1.17"
    assert two.address_for(second) is None
    bound = replace(two, addresses=(*two.addresses, Address(uuid4(), ip_address("10.12.1.18"), second)))
    assert str(bound.address_for(second)) == "10.12.1.18"


def test_a_mac_that_moves_to_another_machine_in_one_change_is_found_there() -> None:
    a, b = machine("a", "52:54:00:00:00:01", "10.12.1.1"), machine("b", "52:54:00:00:00:02", "10.12.1.2")
    inventory = Inventory.build([a, b])
    swapped = inventory.with_machines(
        {a.id: replace(a, interfaces=b.interfaces), b.id: replace(b, interfaces=a.interfaces)}, seq=2
    )
    assert swapped.by_mac(b.interfaces[0].mac) is swapped.machines[a.id]
    assert swapped.by_mac(a.interfaces[0].mac) is swapped.machines[b.id]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_a_snapshot_changed_step_by_step_equals_one_built_anew(steps: list[tuple[int, bool]]) -> None:
    pool = [
        machine(f"m{i}", f"52:54:00:00:00:0{i + 1}", f"10.12.1.{i + 10}", install=install(token_hash=f"t{i}"))
        for i in range(6)
    ]
    inventory = Inventory.build([])
    present: dict[object, Machine] = {}
    for seq, (index, there) in enumerate(steps, start=1):
        chosen = pool[index]
        inventory = inventory.with_machines({chosen.id: chosen if there else None}, seq)
        present = {k: v for k, v in present.items() if k != chosen.id}
        if there:
            present[chosen.id] = chosen
    fresh = Inventory.build(present.values(), seq=len(steps))
    assert inventory == fresh
