"""Transfers side by side: whose port, whose packet, how many, and by one port where a firewall wants it."""

import random
import select
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.tftp.limits import Limits
from provisioner.tftp.packet import Ack, Data, Error, Opcode, OptionAck, Request, decode, encode
from tests.tftp.asking import exchange, here, udp
from tests.tftp.rig import Client, ask
from tests.tftp.serving import Serving, serving


@pytest.mark.rule("tftp-01")
def test_each_transfer_has_its_own_port_and_the_address_the_client_contacted(tree: Path) -> None:
    with serving(tree, listen="0.0.0.0") as made, udp("127.0.0.2") as one, udp("127.0.0.2") as two:
        _, first = exchange(one, ask("snponly.efi"), ("127.0.0.5", made.port))
        _, second = exchange(two, ask("snponly.efi"), ("127.0.0.6", made.port))
        assert first[0] == "127.0.0.5"
        assert second[0] == "127.0.0.6"
        assert len({first[1], second[1], made.port}) == 3
        refused, sender = exchange(one, Request(Opcode.WRQ, "x"), ("127.0.0.7", made.port))
        assert isinstance(refused, Error)
        assert sender[0] == "127.0.0.7"


@pytest.mark.rule("tftp-02")
def test_a_packet_from_another_port_gets_error_5_and_changes_nothing(running: Serving) -> None:
    with udp() as sock, udp() as stranger:
        _, tid = exchange(sock, ask("snponly.efi"), here(running))
        told, _ = exchange(stranger, Ack(1), tid)
        assert isinstance(told, Error)
        assert told.code == 5
        said, _ = exchange(sock, Ack(1), tid)
        assert isinstance(said, Data)
        assert said.block == 2


@pytest.mark.rule("tftp-16")
def test_a_repeated_request_is_one_session_and_a_different_one_begins_anew(running: Serving) -> None:
    with udp() as sock:
        first, tid = exchange(sock, ask("snponly.efi", tsize=0), here(running))
        for _ in range(3):
            assert exchange(sock, ask("snponly.efi", tsize=0), here(running)) == (first, tid)
        assert running.server.sessions == 1
        # A ROM with a fixed port whose abort of the probe was lost goes on to the real read.
        said, other = exchange(sock, ask("snponly.efi", blksize=1024), here(running))
        assert said == OptionAck({"blksize": "1024"})
        assert other != tid
        assert running.server.sessions == 1


@pytest.mark.rule("tftp-18")
def test_session_caps_refuse_with_the_remedy(tree: Path) -> None:
    with serving(tree, limits=Limits(sessions=3, sessions_per_ip=2)) as made, ExitStack() as stack:
        socks = [stack.enter_context(udp(f"127.0.0.{host}")) for host in (2, 2, 2, 3, 4)]
        said = [exchange(sock, ask("snponly.efi"), here(made))[0] for sock in socks]
    assert [type(packet) for packet in said] == [Data, Data, Error, Data, Error]
    assert "127.0.0.2 has 2 transfers open" in str(said[2])
    assert "all 3 transfers are taken; ask again, or raise tftp.max_sessions" in str(said[4])


@pytest.mark.rule("tftp-19")
def test_transfers_stay_within_the_port_range_and_a_full_one_says_so(tree: Path) -> None:
    with udp() as probe:
        first = probe.getsockname()[1]
    ports = range(first, first + 1)
    with serving(tree, limits=Limits(ports=ports)) as made, udp() as one, udp() as two:
        _, tid = exchange(one, ask("snponly.efi"), here(made))
        assert tid[1] in ports
        refused, _ = exchange(two, ask("snponly.efi"), here(made))
        assert isinstance(refused, Error)
        assert "tftp.last_port" in refused.message
        one.sendto(encode(Error(0, "stop")), tid)
        made.recorder.wait_for("the client stopped")
        assert exchange(two, ask("snponly.efi"), here(made))[1][1] in ports


@pytest.mark.rule("tftp-19")
def test_a_single_port_serves_many_at_once_and_forgets_who_is_gone(tree: Path) -> None:
    with serving(tree, limits=Limits(single_port=True)) as made, ExitStack() as stack:
        to = ("127.0.0.1", made.port)
        clients = [(stack.enter_context(udp()), Client()) for _ in range(20)]
        for sock, _ in clients:
            sock.sendto(encode(ask("snponly.efi", blksize=600, windowsize=3)), to)
        while waiting := [pair for pair in clients if not pair[1].done]:
            for sock, client in waiting:
                data, sender = sock.recvfrom(70000)
                assert sender == to, "answers come from the request port"
                for reply in client.take(decode(data)):
                    sock.sendto(encode(reply), to)
        expected = (tree / "snponly.efi").read_bytes()
        assert [bytes(client.received) == expected for _, client in clients] == [True] * 20
        made.recorder.wait_for("read snponly.efi")
        gone, _ = clients[0]
        gone.sendto(encode(Ack(7)), to)
        made.recorder.wait_for("ACK at the request port")


@pytest.mark.rule("tftp-02")
def test_a_stranger_cannot_touch_a_transfer_on_the_single_port(tree: Path) -> None:
    with serving(tree, limits=Limits(single_port=True)) as made, udp() as sock, udp() as stranger:
        to = ("127.0.0.1", made.port)
        said, _ = exchange(sock, ask("snponly.efi"), to)
        stranger.sendto(encode(Error(0, "stop")), to)
        made.recorder.wait_for("ERROR at the request port")
        client = Client()
        while not client.done:
            for reply in client.take(said):
                sock.sendto(encode(reply), to)
            if not client.done:
                said = decode(sock.recvfrom(70000)[0])
        assert bytes(client.received) == (tree / "snponly.efi").read_bytes()


@pytest.mark.system
def test_a_thousand_machines_read_at_once(tmp_path: Path) -> None:
    content = random.Random(7).randbytes(3 * 1468 + 100)
    (tmp_path / "loader").write_bytes(content)
    with ExitStack() as stack:
        tftp = stack.enter_context(serving(tmp_path, limits=Limits(sessions=1000, sessions_per_ip=1000)))
        poll = stack.enter_context(select.epoll())
        clients: dict[int, socket.socket] = {}
        for _ in range(1000):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            clients[sock.fileno()] = sock
            poll.register(sock, select.EPOLLIN)
        # Nobody acknowledges before all have begun: a thousand transfers are open together.
        begun: dict[int, tuple[str, int]] = {}
        until = time.monotonic() + 60
        while len(begun) < len(clients) and time.monotonic() < until:
            for fd in clients.keys() - begun.keys():
                clients[fd].sendto(b"\0\1loader\0octet\0blksize\0" + b"1468\0", ("127.0.0.1", tftp.port))
            while found := poll.poll(1):
                for fd, _ in found:
                    begun[fd] = clients[fd].recvfrom(2048)[1]
                if len(begun) == len(clients):
                    break
        assert tftp.server.sessions == 1000
        for fd, to in begun.items():
            clients[fd].sendto(b"\0\4\0\0", to)
        got = dict.fromkeys(clients, b"")
        while any(len(data) < len(content) for data in got.values()):
            assert time.monotonic() < until, (
                f"{sum(len(data) == len(content) for data in got.values())} of 1000 ended"
            )
            for fd, _ in poll.poll(0.5):
                data, sender = clients[fd].recvfrom(2048)
                if data[1] != 3:
                    continue  # An OACK that was repeated while the others began.
                if len(got[fd]) == (int.from_bytes(data[2:4], "big") - 1) * 1468:
                    got[fd] += data[4:]
                clients[fd].sendto(b"\0\4" + data[2:4], sender)
        assert set(got.values()) == {content}
