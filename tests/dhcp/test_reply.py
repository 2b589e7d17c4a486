"""A reply on the wire: where it goes, what is echoed, and how it fits."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from provisioner.dhcp.packet import NOWHERE, decode, encode
from provisioner.dhcp.reply import Via
from provisioner.dhcp.respond import handle
from provisioner.domain.events import Kind

from .rack import (
    CONTEXT,
    DISCOVER,
    IP,
    MAC,
    NAK,
    NEAR,
    NODE,
    NOW,
    OFFER,
    RACK,
    REQUEST,
    SERVER,
    SYSTEM,
    Asker,
    ask,
    granted,
    pxe,
    rack,
)

ELSEWHERE = IPv4Address("192.0.2.9")
BROADCAST = 0x8000
TAKEN = {50: IP.packed, 54: SERVER.packed}


@pytest.mark.rule("dhcp-01")
@pytest.mark.rule("dhcp-02")
@pytest.mark.rule("dhcp-03")
@pytest.mark.parametrize(
    ("kind", "options", "fields", "via", "address", "port"),
    [
        pytest.param(DISCOVER, {}, {}, Via.LINK, IP, 68, id="no address yet"),
        pytest.param(DISCOVER, {}, {"flags": BROADCAST}, Via.BROADCAST, "255.255.255.255", 68, id="broadcast bit"),
        pytest.param(DISCOVER, {}, {"giaddr": SERVER}, Via.RELAY, SERVER, 67, id="relayed"),
        pytest.param(REQUEST, TAKEN, {}, Via.LINK, IP, 68, id="selecting"),
        pytest.param(REQUEST, {}, {"ciaddr": IP}, Via.ADDRESS, IP, 68, id="renewing"),
        pytest.param(
            REQUEST, {}, {"ciaddr": IP, "flags": BROADCAST}, Via.ADDRESS, IP, 68, id="renewing with broadcast bit"
        ),
        pytest.param(REQUEST, {}, {"ciaddr": IP, "giaddr": SERVER}, Via.RELAY, SERVER, 67, id="renewing by relay"),
        pytest.param(REQUEST, {50: b"\x0a\x62\0\1"}, {}, Via.BROADCAST, "255.255.255.255", 68, id="nak"),
        pytest.param(
            REQUEST, {}, {"ciaddr": ELSEWHERE}, Via.BROADCAST, "255.255.255.255", 68, id="nak to renewing"
        ),
        pytest.param(REQUEST, {50: b"\x0a\x62\0\1"}, {"giaddr": SERVER}, Via.RELAY, SERVER, 67, id="nak by relay"),
    ],
)
def test_where_a_reply_goes(
    kind: bytes, options: dict[int, bytes], fields: dict[str, object], via: Via, address: object, port: int
) -> None:
    decision, _ = ask(SYSTEM, kind, options, **fields)  # type: ignore[arg-type]
    assert decision.reply is not None
    assert (decision.reply.via, decision.reply.address, decision.reply.port) == (
        via,
        IPv4Address(str(address)),
        port,
    )
    assert decision.reply.mac == (MAC if via is Via.LINK else None)


@pytest.mark.rule("dhcp-03")
@pytest.mark.parametrize(("giaddr", "flags"), [(NOWHERE, 0), (SERVER, BROADCAST)])
def test_a_nak_carries_no_address_and_says_why(giaddr: IPv4Address, flags: int) -> None:
    decision, nak = ask(pxe(7), REQUEST, {50: b"\x0a\x62\0\x63", 61: b"\x01abc"}, giaddr=giaddr)
    assert nak is not None
    assert (nak.yiaddr, nak.siaddr, nak.ciaddr, nak.file) == (NOWHERE, NOWHERE, NOWHERE, b"")
    assert (nak.giaddr, nak.flags) == (giaddr, flags)
    assert set(nak.options) == {53, 54, 56, 61}
    assert (nak.options[53], nak.options[54]) == (NAK, SERVER.packed)
    assert nak.options[56].decode() == decision.reason
    assert "refused, its address is 10.98.0.17" in decision.reason
    assert decision.kind is Kind.DHCP_NAK


@pytest.mark.rule("dhcp-13")
@pytest.mark.rule("dhcp-24")
@pytest.mark.parametrize("secs", [0, 1, 0xFFFF])
def test_what_is_echoed_and_what_is_zero(secs: int) -> None:
    chaddr = bytes(MAC).ljust(16, b"\xee")
    offer = granted(SYSTEM, xid=0xDEADBEEF, secs=secs, hops=3, flags=0x8001, giaddr=SERVER, chaddr=chaddr)
    assert (offer.xid, offer.flags, offer.giaddr, offer.chaddr) == (0xDEADBEEF, 0x8001, SERVER, chaddr)
    assert (offer.hops, offer.secs, offer.ciaddr) == (0, 0, NOWHERE)


@pytest.mark.rule("dhcp-14")
@pytest.mark.rule("dhcp-22")
@pytest.mark.parametrize("client_id", [None, b"\x01" + MAC, b"\xff\x12\x34\x56\x78" + bytes(14)])
def test_the_mac_is_the_identity_and_the_client_id_only_an_echo(client_id: bytes | None) -> None:
    offer = granted(SYSTEM, DISCOVER, {61: client_id} if client_id else {})
    assert offer.yiaddr == IP
    assert offer.options.get(61) == client_id


@pytest.mark.rule("dhcp-15")
def test_replies_are_padded_to_what_bootp_relays_expect() -> None:
    decision = handle(
        SYSTEM.bytes(DISCOVER), rack(NODE, subnets=(replace(NEAR, dns=(), ntp=(), domain=""),)), CONTEXT, NOW
    )
    assert decision.reply is not None
    assert len(decision.reply.packet) == 300


@pytest.mark.rule("dhcp-15")
@pytest.mark.rule("dhcp-18")
@pytest.mark.parametrize(("asked", "limit"), [(None, 548), (100, 548), (700, 672), (65535, 1472)])
def test_a_reply_fits_and_says_what_it_left_out(asked: int | None, limit: int) -> None:
    extra = {code: bytes(90) for code in range(200, 220)}
    inventory = rack(NODE, subnets=(replace(NEAR, options=extra),))
    options = {55: bytes((219, 210, *range(200, 220)))} | ({57: asked.to_bytes(2, "big")} if asked else {})
    decision, offer = ask(Asker(), DISCOVER, options, inventory=inventory)
    assert offer is not None
    assert decision.reply is not None
    assert limit - 92 < len(decision.reply.packet) <= limit
    assert list(offer.options)[:3] == [53, 219, 210]
    assert {1, 3, 51, 54, 58, 59} <= set(offer.options)
    assert "left out" in decision.reason
    assert f"it takes {limit} bytes" in decision.reason


@pytest.mark.rule("dhcp-18")
def test_the_always_needed_are_sent_unasked() -> None:
    offer = granted(Asker({55: bytes((6,))}))
    assert list(offer.options)[:2] == [53, 6]
    assert {1, 51, 54, 58, 59} <= set(offer.options)


@pytest.mark.rule("dhcp-19")
def test_a_ciaddr_that_cannot_be_is_not_believed() -> None:
    decision, offer = ask(SYSTEM, ciaddr=ELSEWHERE)
    assert offer is not None
    assert decision.reply is not None
    assert (offer.yiaddr, decision.reply.via) == (IP, Via.LINK)
    decision, ack = ask(SYSTEM, REQUEST, {50: IP.packed, 54: SERVER.packed}, ciaddr=ELSEWHERE)
    assert ack is not None
    assert decision.reply is not None
    assert (ack.ciaddr, decision.reply.via) == (NOWHERE, Via.LINK)


@pytest.mark.rule("dhcp-20")
@pytest.mark.parametrize("agent", [b"\x01\x04eth7", b"\x01\x04eth7\x02\x06switch", b"\xff\x00junk"])
@pytest.mark.parametrize("kind", [DISCOVER, REQUEST])
def test_the_relays_option_comes_back_last_and_unchanged(agent: bytes, kind: bytes) -> None:
    options = {82: agent} if kind == DISCOVER else {82: agent, 50: ELSEWHERE.packed}
    decision, reply = ask(SYSTEM, kind, options, giaddr=SERVER)
    assert reply is not None
    assert list(reply.options)[-1] == 82
    assert reply.options[82] == agent
    assert decision.reply is not None
    assert decision.reply.packet.rstrip(b"\0").endswith(bytes((82, len(agent))) + agent + b"\xff")


def test_operators_options_are_added_and_cannot_break_the_protocol() -> None:
    options = {26: b"\x23\x28", 43: b"\x01\x01\x00", 54: bytes(4), 53: b"\x06", 67: b"other"}
    rom = Asker({**pxe(7).options, 55: bytes((26, 43, 53, 54, 67))})
    offer = granted(rom, inventory=rack(NODE, subnets=(replace(NEAR, options=options),)))
    assert offer.options[26] == b"\x23\x28"
    assert (offer.options[53], offer.options[54]) == (OFFER, SERVER.packed)
    assert (offer.options[43], offer.options[67]) == (b"\x06\x01\x08\xff", b"snponly.efi\0")


@pytest.mark.rule("dhcp-16")
def test_a_request_in_overloaded_fields_is_answered_without_overloading() -> None:
    wire = bytearray(encode(SYSTEM.packet(DISCOVER)._replace(options={})))
    wire[240:] = b"\x34\x01\x01\xff"
    wire[108:236] = (b"\x35\x01\x01\x3d\x07\x01" + MAC + b"\xff").ljust(128, b"\0")
    decision = handle(bytes(wire), RACK, CONTEXT, NOW)
    assert decision.reply is not None
    offer = decode(decision.reply.packet)
    assert (offer.yiaddr, offer.options[61]) == (IP, b"\x01" + MAC)
    assert bytes((52, 1)) not in decision.reply.packet[240:]
