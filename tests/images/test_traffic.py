"""A cap on bulk transfers that is fair, a pace for each, and numbers for Prometheus."""

import os
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from provisioner.domain.inventory import Inventory
from tests.domain.samples import machine
from tests.images.serving import Serving, serving

BIG = 12_000_000
"""More than the sockets' buffers hold."""


def begin(served: Serving, path: str, source: str = "127.0.0.1") -> socket.socket:
    """Ask, and read nothing yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(10)
    sock.bind((source, 0))
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


def test_a_machine_with_many_connections_does_not_go_before_others(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "big").write_bytes(os.urandom(BIG))
    with serving(tmp_path, at_once=2) as served, ExitStack() as stack:

        def asks(source: str) -> socket.socket:
            before = metric(served, "provisioner_images_transfers") + metric(served, "provisioner_images_waiting")
            sock = stack.enter_context(begin(served, "/payload/big", source))
            until(
                lambda: (
                    metric(served, "provisioner_images_transfers") + metric(served, "provisioner_images_waiting")
                    > before
                )
            )
            return sock

        greedy = [asks("127.0.0.2") for _ in range(4)]
        modest = asks("127.0.0.3")
        assert finish(greedy[0]) > BIG
        # Four were there before it; it has nothing yet, and so is next.
        assert finish(modest) > BIG
        until(lambda: metric(served, "provisioner_images_waiting") == 1)


def test_what_a_slow_machine_has_so_far_shows_while_it_reads(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "big").write_bytes(os.urandom(BIG))
    with serving(tmp_path, inventory=Inventory.build([machine(ip="127.0.0.1")])) as served:
        with begin(served, "/payload/big") as sock:
            sock.recv(100_000, socket.MSG_WAITALL)
            until(
                lambda: 100_000 <= metric(served, 'provisioner_images_sent_bytes_total{ip="127.0.0.1"}') < BIG // 2
            )
            until(lambda: metric(served, 'provisioner_images_bytes_per_second{ip="127.0.0.1"}') > 10_000)
            assert metric(served, "provisioner_images_all_bytes_per_second") > 10_000
            assert finish(sock) > BIG - 100_000
        until(lambda: metric(served, 'provisioner_images_sent_bytes_total{ip="127.0.0.1"}') == BIG)
        assert metric(served, "provisioner_images_sent_all_bytes_total") == BIG


def test_a_connection_keeps_the_pace_that_is_set(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "big").write_bytes(os.urandom(BIG))
    with serving(tmp_path, pace=16_000_000) as served:
        begun = time.monotonic()
        assert finish(begin(served, "/payload/big")) > BIG
        # 12 MB at 16 MB/s take 0.75 s, unpaced some milliseconds. The kernel lets the first packets go at once.
        assert time.monotonic() - begun > 0.5


def test_who_stops_reading_gives_its_turn_back(tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.mkdir()
    (payload / "big").write_bytes(os.urandom(BIG))
    with serving(tmp_path, at_once=1, stall_seconds=0.5) as served:
        stuck = begin(served, "/payload/big")
        until(lambda: metric(served, "provisioner_images_sent_all_bytes_total") > 0)
        until(lambda: metric(served, "provisioner_images_transfers") == 0)
        with suppress(ConnectionResetError):
            assert finish(stuck) < BIG


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
