"""Replies that are put together from what was written for others are the same as those written for one client."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.dhcp import reply as replies
from provisioner.dhcp.packet import write_options
from provisioner.dhcp.written import Shelf, written
from provisioner.domain.inventory import Inventory
from provisioner.domain.mac import Mac

from .rack import (
    ACK,
    DISCOVER,
    IP,
    MAC,
    NEAR,
    NODE,
    REQUEST,
    SECOND_MAC,
    SERVER,
    SYSTEM,
    Asker,
    ask,
    ipxe,
    machine,
    pxe,
)

SECOND = machine("a-second-node-with-a-longer-name", SECOND_MAC, IP + 1)
BOTH = Inventory.build([NODE, SECOND], [NEAR])


def payload(asker: Asker, kind: bytes, inventory: Inventory = BOTH) -> bytes:
    options = {54: SERVER.packed, 50: (IP if asker.mac == MAC else IP + 1).packed} if kind == REQUEST else {}
    decision, _ = ask(asker, kind, options, inventory=inventory)
    assert decision.reply is not None, decision.reason
    return decision.reply.packet


@pytest.mark.parametrize(
    "asker", [SYSTEM, pxe(0), pxe(7), ipxe(7), Asker()], ids=["system", "bios", "uefi", "ipxe", "bare"]
)
@pytest.mark.parametrize("kind", [DISCOVER, REQUEST], ids=["discover", "request"])
def test_the_second_machine_gets_what_it_would_get_alone(
    asker: Asker, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(asker, mac=SECOND_MAC, options={**asker.options, 61: b"\xff another id"})
    monkeypatch.setattr(replies, "_SHELF", Shelf())
    alone = payload(other, kind)
    monkeypatch.setattr(replies, "_SHELF", Shelf())
    payload(replace(asker, options={**asker.options, 61: b"\x01" + MAC}), kind)
    assert payload(other, kind) == alone
    assert len(replies._SHELF) == 1, "both were put together from the same"


def test_a_changed_subnet_is_in_the_next_reply() -> None:
    before = payload(SYSTEM, DISCOVER)
    changed = replace(NEAR, domain="other.example")
    assert b"rack.example" in before
    after = payload(SYSTEM, DISCOVER, BOTH.with_subnets([changed], 2))
    assert b"other.example" in after
    assert b"rack.example" not in after


def test_what_clients_ask_for_cannot_fill_the_memory() -> None:
    shelf = Shelf()
    for number in range(5000):
        shelf.options(NEAR, number, {}, lambda: {53: ACK})
    assert 0 < len(shelf) <= 1000


@given(
    st.dictionaries(st.integers(1, 254).filter(lambda code: code != 52), st.binary(max_size=300), max_size=8),
    st.sets(st.integers(1, 254), max_size=8),
)
@settings(max_examples=60)
def test_filled_places_are_where_the_options_were(options: dict[int, bytes], own: set[int]) -> None:
    kept = {code: options[code] for code in own if code in options}
    assert written(options, kept).filled(kept) == write_options(options)


def test_a_name_is_never_another_machines() -> None:
    names = {mac: payload(Asker(mac=Mac(mac)), DISCOVER) for mac in (MAC, SECOND_MAC)}
    assert b"node17" in names[MAC]
    assert b"a-second-node-with-a-longer-name" in names[SECOND_MAC]
    assert b"node17" not in names[SECOND_MAC]
