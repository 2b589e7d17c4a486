"""What leaves by one call arrives as the datagrams it was made of, or nothing is sent at all."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.tftp.sockets import SocketAddress, send_window
from tests.netns import sh
from tests.netns import wire as bridge


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket, SocketAddress]]:
    with socket.socket(type=socket.SOCK_DGRAM) as sender, socket.socket(type=socket.SOCK_DGRAM) as receiver:
        sender.bind(("127.0.0.1", 0))
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield sender, receiver, receiver.getsockname()


Wire = tuple[socket.socket, socket.socket, SocketAddress]


@pytest.mark.parametrize("sizes", [[1472] * 4, [1472] * 3 + [17], [516] * 32, [12, 4], [100]])
def test_a_window_arrives_as_its_blocks(wire: Wire, sizes: list[int]) -> None:
    sender, receiver, to = wire
    window = [bytes([number]) * size for number, size in enumerate(sizes)]
    assert send_window(sender, [(data, to) for data in window])
    assert [receiver.recv(2000) for _ in window] == window


def test_what_is_no_window_is_left_to_be_sent_one_by_one(wire: Wire) -> None:
    sender, receiver, to = wire
    elsewhere = ("127.0.0.1", 9)
    assert not send_window(sender, [(b"long", to), (b"longer", to)])
    assert not send_window(sender, [(b"long", to), (b"b", to), (b"long", to)])
    assert not send_window(sender, [(b"to one", to), (b"or two", elsewhere)])
    assert not send_window(sender, [(b"x", to)] * 65)
    assert not send_window(sender, [(bytes(60_000), to)] * 2)
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(2000)


# Reads the frames that a virtual machine's card would get; prints each UDP payload's length, or 'bad' for its sum.
CARD = """
import fcntl, os, select, socket, struct, time
from provisioner.tftp.sockets import send_window
card = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(card, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
sender = socket.socket(type=socket.SOCK_DGRAM)
sender.bind(("10.98.8.1", 0))
window = [(bytes(size), ("10.98.8.2", 2070)) for size in (1472, 1472, 1472, 100)]
def good(data):
    data += b"\\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return total % 0xFFFF == 0
said = []
until = time.monotonic() + 30
while len(said) < 4 and time.monotonic() < until:
    if not select.select([card], [], [], 0.3)[0]:
        assert send_window(sender, window)  # Again, until the bridge has noticed that the card is there.
        continue
    frame = os.read(card, 70000)
    if frame[12:14] + frame[23:24] + frame[30:34] == b"\\x08\\0\\x11" + socket.inet_aton("10.98.8.2"):
        udp = frame[34:]
        pseudo = frame[26:34] + b"\\0\\x11" + struct.pack("!H", len(udp))
        said.append(len(udp) - 8 if good(frame[14:34]) and good(pseudo + udp) else "bad")
print(*said)
"""


@pytest.mark.system
def test_a_card_that_cuts_nothing_gets_whole_packets() -> None:
    with bridge("10.98.8.1/24") as cable:
        for command in (
            ("tuntap", "add", "tap0", "mode", "tap"),
            ("link", "set", "tap0", "master", "br0", "up"),
            ("neigh", "add", "10.98.8.2", "lladdr", "02:00:00:00:00:02", "dev", "br0"),
        ):
            sh("ip", "-n", cable.server, *command)
        argv = [*cable.exec(cable.server), sys.executable, "-c", CARD]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2]
        )
    assert done.stdout == "1472 1472 1472 100\n", done.stderr
