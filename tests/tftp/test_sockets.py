"""What leaves by one call arrives as the datagrams it was made of, or nothing is sent at all."""

import socket
from collections.abc import Iterator

import pytest

from provisioner.tftp.sockets import SocketAddress, send_window


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
