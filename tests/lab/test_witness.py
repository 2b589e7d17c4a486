"""The witness tells firmware from operating system, and DHCP from everything else. scapy builds the frames."""

import logging
import subprocess
import time

import pytest

from provisioner.lab.network import Network
from provisioner.lab.programs import inside
from provisioner.lab.witness import Witness, read_request

logging.getLogger("scapy").setLevel(logging.ERROR)
scapy = pytest.importorskip("scapy.all")
MAC = "52:54:00:00:00:0a"


def frame(options, *, source=68, target=67, op=1, ip=None):
    return bytes(
        scapy.Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff")
        / (ip or scapy.IP(src="0.0.0.0", dst="255.255.255.255"))
        / scapy.UDP(sport=source, dport=target)
        / scapy.BOOTP(op=op, chaddr=bytes.fromhex(MAC.replace(":", "")))
        / scapy.DHCP(options=[("message-type", "discover"), *options, "end"])
    )


@pytest.mark.parametrize(
    ("options", "vendor"),
    [
        ([("vendor_class_id", b"PXEClient:Arch:00007:UNDI:003001")], b"PXEClient:Arch:00007:UNDI:003001"),
        (["pad", "pad", ("vendor_class_id", b"HTTPClient:Arch:00016")], b"HTTPClient:Arch:00016"),
        ([("hostname", b"node"), ("vendor_class_id", b"udhcp 1.35.0")], b"udhcp 1.35.0"),
        ([], b""),
    ],
)
def test_a_request_is_read_with_its_vendor_class(options, vendor):
    assert read_request(frame(options)) == (MAC, vendor)


def test_ip_options_do_not_hide_it():
    ip = scapy.IP(src="0.0.0.0", dst="255.255.255.255", options=[scapy.IPOption_NOP()] * 4)
    assert read_request(frame([], ip=ip)) == (MAC, b"")


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\x00" * 59,
        frame([], source=67, target=68, op=2),
        frame([], target=53),
        bytes(scapy.Ether() / scapy.ARP()).ljust(400, b"\0"),
        frame([])[:200],
        frame([("vendor_class_id", b"PXEClient")])[:-12] + b"\x3c",
    ],
    ids=["empty", "zeroes", "reply", "dns", "arp", "cut", "cut-in-an-option"],
)
def test_anything_else_is_no_request_and_no_error(other):
    assert read_request(other) is None or read_request(other)[0] == MAC


@pytest.mark.system
def test_it_sees_what_passes_and_dates_it(tmp_path):
    network = Network(f"pt{time.time_ns() % 10**9}")
    witness = Witness(network.wire, tmp_path / "witness.jsonl")
    # A client in the BMCs' namespace asks as an operating system and as firmware.
    send = (
        "import socket, sys\n"
        "wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
        "wire.bind(('eth0', 0))\n"
        "for text in sys.argv[1:]: wire.send(bytes.fromhex(text))\n"
    )
    frames = [frame([]).hex(), frame([("vendor_class_id", b"PXEClient:Arch:00000")]).hex()]
    try:
        network.up()
        witness.start()
        since = time.time_ns() // 1000
        until = time.monotonic() + 20
        while not list(witness.requests()):
            assert time.monotonic() < until
            subprocess.run(inside(network.bmcs, ["python3", "-c", send, *frames]), check=True, timeout=10)
            time.sleep(0.2)
        assert witness.watching
        asked = witness.system_requests(MAC, since)
        assert asked
        assert all(not request.firmware and request.at >= since for request in asked)
        assert any(request.firmware for request in witness.requests())
        assert witness.system_requests(MAC, asked[-1].at + 1) == []
        assert witness.system_requests("52:54:00:00:00:0b", since) == []
    finally:
        witness.stop()
        network.down()
    assert not witness.watching
