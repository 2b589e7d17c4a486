"""The witness tells firmware from operating system and from everything else. scapy builds the frames."""

import logging
import subprocess
import time

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.l2 import ARP, Ether

from provisioner.lab.network import Network
from provisioner.lab.programs import inside
from provisioner.lab.witness import Sight, Witness, recognise

logging.getLogger("scapy").setLevel(logging.ERROR)
MAC = "52:54:00:00:00:0a"


def dhcp(options, *, kind="discover", source=68, target=67, op=1, ip=None):
    return bytes(
        Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")
        / (ip or IP(src="0.0.0.0", dst="255.255.255.255"))
        / UDP(sport=source, dport=target)
        / BOOTP(op=op, chaddr=bytes.fromhex(MAC.replace(":", "")))
        / DHCP(options=[("message-type", kind), *options, "end"])
    )


def http(data, port=80):
    return bytes(
        Ether(src=MAC, dst="52:54:00:00:00:01")
        / IP(src="10.77.0.11", dst="10.77.0.1")
        / TCP(sport=40000, dport=port, flags="PA", options=[("NOP", None)] * 4)
        / data
    )


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (dhcp([("vendor_class_id", b"PXEClient:Arch:00007:UNDI:003001")]), Sight.FIRMWARE),
        (dhcp(["pad", "pad", ("vendor_class_id", b"HTTPClient:Arch:00016")], kind="request"), Sight.FIRMWARE),
        (dhcp([("hostname", b"node"), ("vendor_class_id", b"udhcp 1.35.0")]), Sight.SYSTEM),
        (dhcp([], kind="request"), Sight.SYSTEM),
        (dhcp([], ip=IP(dst="255.255.255.255", options=[IPOption_NOP()] * 4)), Sight.SYSTEM),
        (http(b"POST /m/abc/active HTTP/1.1\r\nHost: x\r\n\r\n"), Sight.HOME),
    ],
    ids=["pxe", "http-boot", "udhcpc", "anonymous", "ip-options", "home"],
)
def test_what_matters_is_recognised(frame, what):
    assert recognise(frame) == (MAC, what)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00" * 59,
        dhcp([], kind="release"),
        dhcp([], kind="offer", source=67, target=68, op=2),
        dhcp([], target=53),
        bytes(Ether() / ARP()).ljust(400, b"\0"),
        dhcp([])[:200],
        dhcp([])[:270],
        http(b"POST /b/abc/progress HTTP/1.1\r\n"),
        http(b"POST /m/abc/active HTTP/1.1\r\n", port=8080),
        http(b""),
    ],
    ids=["empty", "zeroes", "release", "reply", "dns", "arp", "cut", "no-type", "progress", "page", "ack"],
)
def test_anything_else_is_passed_over(frame):
    assert recognise(frame) is None


def test_no_prefix_of_a_frame_is_an_error():
    for whole in (dhcp([("vendor_class_id", b"PXEClient")]), http(b"POST /m/abc/active HTTP/1.1\r\n")):
        for length in range(len(whole)):
            assert recognise(whole[:length]) in (
                None,
                (MAC, Sight.FIRMWARE),
                (MAC, Sight.SYSTEM),
                (MAC, Sight.HOME),
            )


SEND = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind(("eth0", 0))
    for text in sys.argv[1:]:
        wire.send(bytes.fromhex(text))
"""


@pytest.mark.system
def test_it_sees_what_passes_the_bridge_and_dates_it(tmp_path):
    network = Network(f"pt{time.time_ns() % 10**9}")
    witness = Witness(network.wire, tmp_path / "witness.jsonl")
    frames = [
        frame.hex()
        for frame in (
            dhcp([]),
            dhcp([("vendor_class_id", b"PXEClient:Arch:00000")]),
            http(b"POST /m/abc/active HTTP/1.1\r\n"),  # unicast: only promiscuous ears hear it
            http(b"GET /images/x", port=8081),
        )
    ]
    try:
        network.up()
        witness.start()
        since = time.time_ns() // 1000
        until = time.monotonic() + 20
        while not witness.count(Sight.HOME, MAC):
            assert time.monotonic() < until, (tmp_path / "witness.jsonl").read_text()
            subprocess.run(inside(network.bmcs, ["python3", "-c", SEND, *frames]), check=True, timeout=10)
            time.sleep(0.2)
        assert witness.watching
        assert witness.count(Sight.SYSTEM, MAC, since) == witness.count(Sight.FIRMWARE, MAC, since) > 0
        assert witness.count(Sight.SYSTEM, MAC, time.time_ns() // 1000) == 0
        assert witness.count(Sight.SYSTEM, "52:54:00:00:00:0b", since) == 0
        assert {one.what for one in witness.seen()} == {"firmware", "system", "home"}
    finally:
        witness.stop()
        network.down()
    assert not witness.watching
