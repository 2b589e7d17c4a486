"""A client of the server under test, by plain sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.tftp.packet import Error, Packet, decode, encode
from tests.tftp.rig import Client, ask
from tests.tftp.serving import Serving


@contextmanager
def udp(bind: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((bind, 0))
        sock.settimeout(5)
        yield sock


def exchange(sock: socket.socket, packet: Packet | bytes, to: tuple[str, int]) -> tuple[Packet, tuple[str, int]]:
    sock.sendto(packet if isinstance(packet, bytes) else encode(packet), to)
    data, sender = sock.recvfrom(70000)
    return decode(data), sender[:2]


def fetch(name: str, to: tuple[str, int], bind: str = "127.0.0.1", **options: object) -> bytes | Error:
    """A whole read, or the error that the server answers with."""
    client = Client()
    with udp(bind) as sock:
        said, tid = exchange(sock, ask(name, **options), to)
        while True:
            replies = client.take(said)
            if client.error:
                return client.error
            for reply in replies:
                sock.sendto(encode(reply), tid)
            if client.done:
                return bytes(client.received)
            data, sender = sock.recvfrom(70000)
            assert sender[:2] == tid
            said = decode(data)


def here(made: Serving) -> tuple[str, int]:
    return ("127.0.0.1", made.port)
