"""Beside another DHCP server: boot information for netboot clients, addresses for nobody."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from provisioner.dhcp.decision import Cause
from provisioner.dhcp.packet import NOWHERE, decode
from provisioner.dhcp.reply import Via
from provisioner.dhcp.respond import Mode, handle
from provisioner.domain.events import Kind
from provisioner.domain.machine import State
from provisioner.domain.subnet import UnknownPolicy

from .rack import (
    ACK,
    CONTEXT,
    DISCOVER,
    INFORM,
    IP,
    MAC,
    NEAR,
    NODE,
    NOW,
    OFFER,
    RACK,
    RELEASE,
    REQUEST,
    SERVER,
    STRANGER,
    SYSTEM,
    UUID97,
    Asker,
    ask,
    http_client,
    ipxe,
    pxe,
    rack,
)
from .test_captures import HERE, capture

PROXY = replace(CONTEXT, mode=Mode.PROXY)
ELSEWHERE = IPv4Address("10.98.0.9")
PORT = 4011


def boot_asked(asker: Asker, kind: bytes = REQUEST, options: dict[int, bytes] | None = None, **fields: object):  # type: ignore[no-untyped-def]
    decision = handle(asker.bytes(kind, options, **fields), RACK, PROXY, NOW, boot_port=PORT)
    return decision, decode(decision.reply.packet) if decision.reply else None


@pytest.mark.rule("dhcp-28")
@pytest.mark.parametrize(
    ("asker", "file", "option_43"),
    [
        pytest.param(pxe(0), b"undionly.kpxe", b"\x06\x01\x08\xff", id="BIOS takes it from the offer"),
        pytest.param(pxe(7), b"", None, id="UEFI asks on 4011 and gets no 43"),
        pytest.param(pxe(9), b"", None, id="UEFI by its other number"),
        pytest.param(ipxe(7), b"http://10.98.0.1/boot.ipxe?mac=", None, id="iPXE takes the script"),
        pytest.param(http_client(16), b"http://10.98.0.1/loaders/snponly.efi", None, id="HTTP boot takes the URL"),
    ],
)
def test_a_proxys_offer(asker: Asker, file: bytes, option_43: bytes | None) -> None:
    decision, offer = ask(asker, context=PROXY)
    assert offer is not None, decision.reason
    assert decision.reply is not None
    assert (offer.options[53], offer.yiaddr, offer.siaddr) == (OFFER, NOWHERE, SERVER)
    assert (offer.options[54], offer.options[97]) == (SERVER.packed, UUID97)
    assert offer.options[60] == (b"HTTPClient" if asker.options[60].startswith(b"HTTP") else b"PXEClient")
    assert offer.file.startswith(file)
    assert bool(offer.file) == bool(file)
    assert offer.options.get(67, b"").rstrip(b"\0") == offer.file
    assert offer.options.get(43) == option_43
    assert not {1, 3, 6, 51, 58, 59} & set(offer.options), "no address, so nothing that belongs to one"
    assert (decision.reply.via, decision.reply.port) == (Via.BROADCAST, 68)
    assert decision.effects == ()


@pytest.mark.rule("dhcp-28")
@pytest.mark.parametrize(
    ("asker", "kind", "cause"),
    [
        (SYSTEM, DISCOVER, Cause.NOT_NETBOOT),
        (SYSTEM, REQUEST, Cause.NOT_NETBOOT),
        (pxe(7), REQUEST, Cause.OTHER_SERVER),
        (pxe(7), INFORM, Cause.OTHER_SERVER),
        (pxe(7), RELEASE, Cause.OTHER_SERVER),
        (replace(pxe(7), mac=STRANGER), DISCOVER, Cause.UNLISTED),
    ],
)
def test_what_is_the_other_servers_business_is_left_to_it(asker: Asker, kind: bytes, cause: Cause) -> None:
    wanted = {50: IPv4Address("192.0.2.1").packed} if kind == REQUEST else {}
    decision, reply = ask(asker, kind, wanted, context=PROXY)
    assert reply is None
    assert (decision.kind, decision.cause) == (Kind.DHCP_IGNORED, cause)


def test_strangers_are_booted_beside_another_server_if_the_subnet_discovers() -> None:
    inventory = rack(subnets=(replace(NEAR, unknown=UnknownPolicy.ENROL),))
    _, offer = ask(replace(pxe(0), mac=STRANGER), context=PROXY, inventory=inventory)
    assert offer is not None
    assert (offer.yiaddr, offer.file) == (NOWHERE, b"undionly.kpxe")


@pytest.mark.rule("dhcp-29")
@pytest.mark.parametrize("kind", [REQUEST, INFORM])
@pytest.mark.parametrize(("asker", "file"), [(pxe(0), b"undionly.kpxe"), (pxe(7), b"snponly.efi")])
def test_the_boot_server_answers_the_datagrams_source_port(kind: bytes, asker: Asker, file: bytes) -> None:
    decision, ack = boot_asked(asker, kind, ciaddr=IP)
    assert ack is not None, decision.reason
    assert decision.reply is not None
    assert (ack.options[53], ack.file, ack.siaddr, ack.yiaddr) == (ACK, file, SERVER, NOWHERE)
    assert (ack.options[60], ack.options[54], ack.options[97]) == (b"PXEClient", SERVER.packed, UUID97)
    assert (decision.reply.via, decision.reply.address, decision.reply.port) == (Via.ADDRESS, IP, PORT)


@pytest.mark.rule("dhcp-29")
def test_the_boot_server_keeps_out_of_what_is_not_its() -> None:
    for asker, kind, options, cause in (
        (SYSTEM, REQUEST, {}, Cause.NOT_NETBOOT),
        (pxe(7), RELEASE, {}, Cause.NOT_A_CLIENT),
        (pxe(7), REQUEST, {54: ELSEWHERE.packed}, Cause.OTHER_SERVER),
        (replace(pxe(7), mac=STRANGER), REQUEST, {}, Cause.UNLISTED),
    ):
        decision, reply = boot_asked(asker, kind, options, ciaddr=IP)
        assert reply is None
        assert decision.cause is cause


@pytest.mark.rule("dhcp-30")
def test_the_boot_item_that_was_chosen_is_repeated() -> None:
    item = b"\x47\x04\x00\x00\x00\x00"
    _, ack = boot_asked(pxe(0), options={43: item + b"\xff"}, ciaddr=IP)
    assert ack is not None
    assert ack.options[43] == item + b"\xff"
    for malformed in (b"\x47", b"\x47\xff\x01", b"\x00" * 40, b"\xff", b"\x01\x00" * 100):
        _, ack = boot_asked(pxe(0), options={43: malformed}, ciaddr=IP)
        assert ack is not None
        assert 43 not in ack.options
        assert ack.file == b"undionly.kpxe"


@pytest.mark.rule("dhcp-41")
def test_real_clients_beside_another_server() -> None:
    for client, file in (
        ("bios-ipxe-rom", b"http://10.98.0.1/boot.ipxe?mac="),
        ("ovmf-pxe", b""),
        ("ovmf-http", b"http://10.98.0.1/loaders/snponly.efi"),
    ):
        decision = handle(capture(f"{client}-discover"), HERE, PROXY, NOW)
        assert decision.reply is not None, decision.reason
        offer = decode(decision.reply.packet)
        assert (offer.yiaddr, 43 in offer.options) == (NOWHERE, False)
        assert offer.file.startswith(file)
    for client in ("udhcpc", "dhclient"):
        assert handle(capture(f"{client}-discover"), HERE, PROXY, NOW).reply is None


def test_a_retired_machine_is_left_alone_here_too() -> None:
    inventory = rack(replace(NODE, state=State.RETIRED))
    decision, reply = ask(pxe(7), context=PROXY, inventory=inventory)
    assert reply is None
    assert (decision.cause, decision.mac) == (Cause.RETIRED, MAC)
