"""Options that operators state: who is sent which, and which one wins."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from provisioner.domain.option_set import read_options
from provisioner.domain.subnet import AddressRange, UnknownPolicy

from .rack import (
    ACK,
    CONTEXT,
    INFORM,
    IP,
    NEAR,
    NODE,
    REQUEST,
    SERVER,
    STRANGER,
    SYSTEM,
    Asker,
    ask,
    granted,
    ipxe,
    pxe,
    rack,
)

ROUTES = "10.0.0.0/8 via 10.98.0.7"
SUBNET = replace(
    NEAR,
    options=read_options(
        {"mtu": "1400", "log-servers": "10.98.0.9", "classless-routes": ROUTES, "vendor": "1=hex:0a0b"}
    ),
)
ROLE = {"worker": read_options({"mtu": "9000", "ntp": "10.98.0.40", "domain-search": "rack.example, example"})}
MACHINE = replace(NODE, slot=replace(NODE.slot, options=read_options({"ntp": "10.98.0.41"})))
THERE = rack(MACHINE, subnets=(SUBNET,))
ROLES = replace(CONTEXT, role_options=lambda role: ROLE.get(role, {}))
ALL = Asker({55: bytes((1, 3, 6, 7, 15, 26, 42, 43, 119, 121, 249))})


def test_the_narrower_set_wins_option_by_option() -> None:
    offer = granted(ALL, inventory=THERE, context=ROLES)
    assert offer.options[7] == bytes((10, 98, 0, 9)), "only the subnet states it"
    assert offer.options[26] == (9000).to_bytes(2, "big"), "the role's wins over the subnet's"
    assert offer.options[42] == bytes((10, 98, 0, 41)), "the machine's wins over the role's and the subnet's"
    assert offer.options[119] == b"\4rack\7example\0\7example\0"
    without_role = granted(ALL, inventory=THERE)
    assert without_role.options[26] == (1400).to_bytes(2, "big")


def test_the_ack_says_the_same() -> None:
    offer = granted(ALL, inventory=THERE, context=ROLES)
    ack = granted(ALL, REQUEST, {50: IP.packed, 54: SERVER.packed}, inventory=THERE, context=ROLES)
    assert ack.options == {**offer.options, 53: ACK}


def test_what_a_client_does_not_ask_for_is_not_sent() -> None:
    asked = Asker({55: bytes((1, 6))})
    offer = granted(asked, inventory=THERE, context=ROLES)
    assert set(offer.options) == {53, 1, 6, 3, 51, 54, 58, 59}


def test_a_client_that_lists_nothing_gets_what_there_is() -> None:
    assert {6, 7, 15, 26, 42, 43, 119, 121} <= set(granted(Asker(), inventory=THERE, context=ROLES).options)


@pytest.mark.parametrize(
    ("routes", "sent"),
    [
        # RFC 3442: who reads routes ignores the router, so the default route must be among them.
        (ROUTES, "080a0a620007" + "000a6200fe"),
        (f"{ROUTES}, default via 10.98.0.8", "080a0a620007" + "000a620008"),
    ],
)
def test_classless_routes_keep_the_default_route(routes: str, sent: str) -> None:
    subnet = replace(NEAR, options=read_options({"classless-routes": routes}))
    offer = granted(ALL, inventory=rack(NODE, subnets=(subnet,)))
    assert offer.options[121].hex() == sent
    assert offer.options[249] == offer.options[121]
    assert offer.options[3] == bytes((10, 98, 0, 254))
    modern = granted(Asker({55: bytes((121, 3))}), inventory=rack(NODE, subnets=(subnet,)))
    assert 249 not in modern.options


def test_without_a_router_no_default_route_is_made_up() -> None:
    subnet = replace(NEAR, gateway=None, options=read_options({"classless-routes": ROUTES}))
    offer = granted(ALL, inventory=rack(NODE, subnets=(subnet,)))
    assert offer.options[121].hex() == "080a0a620007"
    assert 3 not in offer.options


def test_vendor_options_never_take_the_place_of_what_a_rom_needs() -> None:
    assert granted(ALL, inventory=THERE).options[43] == b"\1\2\x0a\x0b"
    assert granted(pxe(7), inventory=THERE).options[43] == b"\x06\x01\x08\xff"
    assert granted(ipxe(7), inventory=THERE).options[43] == b"\1\2\x0a\x0b"


def test_clients_of_the_pool_get_the_subnets_set_only() -> None:
    pool = AddressRange(IPv4Address("10.98.0.200"), IPv4Address("10.98.0.209"))
    subnet = replace(SUBNET, pools=(pool,), unknown=UnknownPolicy.ADDRESS)
    offer = granted(replace(ALL, mac=STRANGER), inventory=rack(MACHINE, subnets=(subnet,)), context=ROLES)
    assert offer.options[26] == (1400).to_bytes(2, "big")
    assert 119 not in offer.options


def test_an_inform_is_told_the_machines_options() -> None:
    _, ack = ask(SYSTEM, INFORM, inventory=THERE, context=ROLES, ciaddr=IP)
    assert ack is not None
    assert ack.options[26] == (9000).to_bytes(2, "big")
    assert 51 not in ack.options
