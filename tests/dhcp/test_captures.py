"""What real firmware and real clients sent, word for word, is answered so that they went on from there."""

import random
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from provisioner.dhcp.packet import decode, encode
from provisioner.dhcp.reply import Via
from provisioner.dhcp.respond import handle
from provisioner.domain.events import Kind
from provisioner.domain.machine import Phase

from .rack import ACK, CONTEXT, MAC, NEAR, NOW, OFFER, SECOND_MAC, machine, rack

GOLDEN = Path(__file__).parents[1] / "golden" / "dhcp"
THIRD_MAC = type(MAC).parse("52:54:00:98:02:17")
HERE = rack(
    machine("one", MAC, IPv4Address("10.98.0.17")),
    machine("two", SECOND_MAC, IPv4Address("10.98.0.18")),
    machine("three", THIRD_MAC, IPv4Address("10.98.0.19")),
    subnets=(NEAR,),
)


def capture(name: str) -> bytes:
    source, *lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    assert source.startswith("# captured-from: ")
    return bytes.fromhex("".join(lines))


@pytest.mark.rule("dhcp-41")
@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "relayed"])
@pytest.mark.parametrize("step", ["discover", "request"])
@pytest.mark.parametrize(
    ("client", "address", "file", "phase"),
    [
        ("bios-ipxe-rom", "10.98.0.17", b"http://10.98.0.1/boot.ipxe?mac=52-54-00-98-00-17&", Phase.LOADER),
        ("ovmf-pxe", "10.98.0.18", b"snponly.efi", Phase.FIRMWARE),
        ("snponly", "10.98.0.18", b"http://10.98.0.1/boot.ipxe?mac=52-54-00-98-01-17&", Phase.LOADER),
        ("ovmf-http", "10.98.0.19", b"http://10.98.0.1/loaders/snponly.efi", Phase.FIRMWARE),
        ("udhcpc", "10.98.0.17", b"", None),
        ("dhclient", "10.98.0.17", b"", None),
        ("networkd", "10.98.0.17", b"", None),
    ],
)
def test_a_real_client_is_answered(
    client: str, address: str, file: bytes, phase: Phase | None, step: str, relayed: bool
) -> None:
    asked = decode(capture(f"{client}-{step}"))
    if relayed:
        options = {**asked.options, 82: b"\x01\x04ge-7"}
        asked = asked._replace(giaddr=IPv4Address("10.98.0.250"), hops=1, options=options)
    decision = handle(encode(asked), HERE, CONTEXT, NOW)
    assert decision.reply is not None, decision.reason
    told = decode(decision.reply.packet)
    assert told.options[53] == {"discover": OFFER, "request": ACK}[step]
    assert (str(told.yiaddr), told.xid, told.chaddr) == (address, asked.xid, asked.chaddr)
    assert told.file.startswith(file)
    assert bool(told.file) == bool(file)
    assert decision.phase == phase
    assert told.options.get(61) == asked.options.get(61)
    assert told.options.get(82) == asked.options.get(82)
    expected = Via.RELAY if relayed else Via.BROADCAST if asked.broadcast else Via.LINK
    assert decision.reply.via is expected


@pytest.mark.rule("dhcp-22")
def test_one_machine_keeps_its_address_through_three_client_ids() -> None:
    rom, loader = decode(capture("ovmf-pxe-discover")), decode(capture("snponly-discover"))
    assert rom.mac == loader.mac
    assert rom.options.get(61) != loader.options.get(61)
    system = rom._replace(options={53: b"\x01", 61: b"\xff\x00\x00\x00\x01" + bytes(10)})
    given = [handle(encode(asked), HERE, CONTEXT, NOW).reply for asked in (rom, loader, system)]
    assert {decode(reply.packet).yiaddr for reply in given if reply} == {IPv4Address("10.98.0.18")}
    assert None not in given


def test_no_distortion_of_a_real_packet_breaks_the_answering() -> None:
    chance = random.Random(7)
    seeds = [capture(file.stem) for file in sorted(GOLDEN.glob("*.hex"))]
    kinds = set()
    for _ in range(4000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 10)):
            # Mostly among the options: the header's fields are hardly interpreted.
            at = chance.randrange(240, len(data)) if chance.random() < 0.8 else chance.randrange(len(data))
            data[at] = chance.choice((0, 1, 52, 53, 54, 82, 255, chance.randrange(256)))
        decision = handle(bytes(data), HERE, CONTEXT, NOW, unicast=chance.random() < 0.5)
        assert decision.reason
        kinds.add(decision.kind)
        if decision.reply is not None:
            assert decode(decision.reply.packet).op == 2
    assert {Kind.DHCP_OFFER, Kind.DHCP_ACK, Kind.DHCP_IGNORED} <= kinds
