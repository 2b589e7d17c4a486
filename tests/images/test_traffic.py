"""A cap on bulk transfers that is fair, and numbers for Prometheus."""

import os
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from provisioner.domain.inventory import Inventory
from tests.domain.samples import machine
from tests.images.serving import Serving, serving

BIG = 12_000_000
"""More than the sockets' buffers hold."""


def begin(served: Serving, path: str) -> socket.socket:
    """Ask, and read nothing yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", served.port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return sock


def finish(sock: socket.socket) -> int:
    """Read to the end; bytes."""
    with sock:
        return sum(iter(lambda: len(sock.recv(1 << 20)), 0))


def metric(served: Serving, name: str) -> float:
    text = urllib.request.urlopen(f"{served.url}/metrics", timeout=10).read().decode()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)), 0.0)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_more_transfers_than_the_cap_wait_in_order_and_small_files_do_not(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "big").write_bytes(os.urandom(BIG))
    (payload / "small").write_bytes(b"small")
    with serving(tmp_path, at_once=1) as served:
        first = begin(served, "/payload/big")
        until(lambda: metric(served, "provisioner_images_transfers") == 1)
        second = begin(served, "/payload/big")
        until(lambda: metric(served, "provisioner_images_waiting") == 1)
        third = begin(served, "/payload/big")
        until(lambda: metric(served, "provisioner_images_waiting") == 2)
        assert urllib.request.urlopen(f"{served.url}/payload/small", timeout=10).read() == b"small"
        assert finish(first) > BIG
        until(lambda: metric(served, "provisioner_images_waiting") == 1)
        second.close()  # Gives up: its turn goes to the next.
        assert finish(third) > BIG
        until(lambda: metric(served, "provisioner_images_transfers") == 0)
        assert metric(served, "provisioner_images_waiting") == 0


def test_bytes_are_counted_for_listed_machines_and_for_all_others_together(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "f").write_bytes(b"x" * 1000)
    with serving(tmp_path, inventory=Inventory.build([machine(ip="127.0.0.1")])) as served:
        for _ in range(3):
            urllib.request.urlopen(f"{served.url}/payload/f", timeout=10).read()
        until(lambda: metric(served, 'provisioner_images_sent_bytes_total{ip="127.0.0.1"}') == 3000)
        assert metric(served, "provisioner_images_sent_all_bytes_total") == 3000
    with serving(tmp_path) as served:
        urllib.request.urlopen(f"{served.url}/payload/f", timeout=10).read()
        until(lambda: metric(served, 'provisioner_images_sent_bytes_total{ip="other"}') == 1000)
