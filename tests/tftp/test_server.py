"""The server on loopback sockets: what a client sees, what the timeline says, and what cannot kill it."""

import os
import random
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.domain.errors import InvalidValue
from provisioner.domain.events import Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Address, Machine, Phase, Slot, State
from provisioner.tftp.limits import Limits
from provisioner.tftp.packet import Ack, Data, Error, Opcode, OptionAck, Packet, Request, decode, encode
from tests.tftp.rig import Client, ask
from tests.tftp.serving import Serving, serving


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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A served folder with everything that must not be served around it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "tftp"
    (root / "grub").mkdir(parents=True)
    (root / "snponly.efi").write_bytes(os.urandom(174_000))
    (root / "grub" / "grub.cfg").write_text("menu")
    (root / "empty").touch()
    (root / "link").symlink_to("grub/grub.cfg")
    (root / "out").symlink_to("../secret")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "folder-out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def running(tree: Path) -> Iterator[Serving]:
    with serving(tree) as made:
        yield made


def here(made: Serving) -> tuple[str, int]:
    return ("127.0.0.1", made.port)


@pytest.mark.rule("tftp-15")
@pytest.mark.rule("threat-09")
@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("nothing.efi", 1, "no file 'nothing.efi'"),
        ("snponly.efi/x", 1, "no file"),
        ("x" * 300, 1, "no file"),
        ("../secret", 2, "climbs by '..'"),
        ("grub/../../secret", 2, "climbs by '..'"),
        ("/../secret", 2, "climbs by '..'"),
        ("/etc/passwd", 1, "no file"),
        ("..\\secret", 2, "backslash"),
        ("out", 2, "leaves the served folder"),
        ("absolute", 2, "leaves the served folder"),
        ("folder-out/secret", 2, "leaves the served folder"),
        ("grub", 2, "a directory"),
        (".", 2, "a directory"),
        ("/", 2, "a directory"),
        ("pipe", 2, "a pipe"),
    ],
)
def test_what_is_not_a_file_beneath_the_root_is_refused_with_the_reason(
    running: Serving, name: str, code: int, reason: str
) -> None:
    error = fetch(name, here(running))
    assert isinstance(error, Error)
    assert error.code == code
    assert reason in error.message
    event = running.recorder.wait_for(reason)
    assert event.kind is Kind.TFTP_REFUSED
    assert event.data["ip"] == "127.0.0.1"


@pytest.mark.parametrize(
    "name", ["snponly.efi", "/snponly.efi", "//snponly.efi", "grub/grub.cfg", "/grub/grub.cfg", "empty"]
)
@pytest.mark.parametrize("options", [{}, {"blksize": 1468, "windowsize": 4, "tsize": 0}], ids=["plain", "edk2"])
def test_files_arrive_whole(running: Serving, tree: Path, name: str, options: dict[str, int]) -> None:
    assert fetch(name, here(running), **options) == (tree / name.lstrip("/")).read_bytes()


def test_a_link_inside_the_root_is_followed(running: Serving) -> None:
    assert fetch("link", here(running)) == b"menu"


@pytest.mark.rule("tftp-15")
@pytest.mark.rule("tftp-14")
@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(Opcode.WRQ, "snponly.efi"), "read-only"),
        (Request(Opcode.RRQ, "snponly.efi", "netascii"), "ask for octet"),
        (Request(Opcode.RRQ, "snponly.efi", "mail"), "ask for octet"),
    ],
    ids=["write", "netascii", "mail"],
)
def test_writes_and_text_mode_are_refused_with_error_4(running: Serving, request_: Request, reason: str) -> None:
    with udp() as sock:
        said, _ = exchange(sock, request_, here(running))
    assert isinstance(said, Error)
    assert said.code == 4
    assert reason in said.message
    running.recorder.wait_for(reason)


@pytest.mark.parametrize("machine_known", [True, False])
def test_the_timeline_names_machine_file_size_and_time(tree: Path, machine_known: bool) -> None:
    machine = Machine(
        id=uuid4(),
        slot=Slot(uuid4(), "node1"),
        state=State.ARMED,
        addresses=(Address(uuid4(), ip_address("127.0.0.1")),),
    )
    with serving(tree, inventory=Inventory.build([machine] if machine_known else [])) as made:
        fetch("snponly.efi", here(made), blksize=1468)
        event = made.recorder.wait_for("read snponly.efi, 174 kB in 0.")
    assert event.kind is Kind.TFTP_READ
    assert event.machine_id == (machine.id if machine_known else None)
    assert event.phase == (Phase.LOADER if machine_known else None)
    assert event.message.startswith("read" if machine_known else "127.0.0.1 read")


@pytest.mark.rule("tftp-07")
def test_a_size_probe_is_logged_as_one(running: Serving) -> None:
    with udp() as sock:
        said, tid = exchange(sock, ask("snponly.efi", tsize=0), here(running))
        assert said == OptionAck({"tsize": "174000"})
        sock.sendto(encode(Error(8, "User aborted the transfer")), tid)
        event = running.recorder.wait_for("asked for the size of snponly.efi")
    assert event.data["probe"] is True
    assert event.phase is None


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


def test_ipv6_clients_are_served(tree: Path) -> None:
    with serving(tree, listen="::1") as made:
        assert fetch("grub/grub.cfg", ("::1", made.port), bind="::1") == b"menu"
        made.recorder.wait_for("::1 read grub/grub.cfg, 4 bytes")


@pytest.mark.rule("tftp-17")
def test_a_request_to_a_broadcast_address_is_ignored_and_noted(tree: Path) -> None:
    broadcast = str(ip_network("127.0.0.0/8").broadcast_address)
    with serving(tree, listen="0.0.0.0") as made, udp("0.0.0.0") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(encode(ask("snponly.efi")), (broadcast, made.port))
        made.recorder.wait_for("a request to a broadcast address")
        assert made.server.sessions == 0


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


def test_content_made_on_the_fly_comes_before_files_and_its_failure_is_told(tree: Path) -> None:
    def virtual(name: str, ip: object, server: object) -> bytes | None:
        if name == "broken":
            raise RuntimeError("template")
        return f"#!ipxe {ip}".encode() if name == "autoexec.ipxe" else None

    with serving(tree, virtual=virtual) as made:
        assert fetch("autoexec.ipxe", here(made)) == b"#!ipxe 127.0.0.1"
        assert fetch("grub/grub.cfg", here(made)) == b"menu"
        error = fetch("broken", here(made))
        assert isinstance(error, Error)
        assert "could not be made" in error.message


def test_no_datagram_ends_the_service(running: Serving) -> None:
    dice = random.Random(69)
    seeds = [
        encode(ask("snponly.efi", blksize=1468, windowsize=4, tsize=0)),
        b"\0\1snponly.efi\0octet\0blksize\0abc\0",
        b"\0\1grub\0octet\0",
        b"\0\1caf\xe9\0octet\0",
        b"\0\1snponly.efi\0octet\0timeout",
        b"\0\1a\0b\0\xff\xff\0",
        encode(Data(1, b"x")),
        encode(Error(0, "x")),
        b"",
        b"\0",
    ]
    with udp() as sock:
        tid = exchange(sock, ask("snponly.efi", windowsize=8), here(running))[1]
        for _ in range(3000):
            wire = bytearray(dice.choice(seeds))
            for _ in range(dice.randrange(4)):
                if wire:
                    wire[dice.randrange(len(wire))] = dice.randrange(256)
            sock.sendto(bytes(wire[: dice.randrange(len(wire) + 1)]), here(running) if dice.random() < 0.7 else tid)
    running.recorder.wait_for("malformed")
    with udp("127.0.0.9") as sock:
        sock.settimeout(0.5)
        for _ in range(20):  # The flood may have filled the socket's buffer: a client asks again.
            with suppress(TimeoutError):
                said, _ = exchange(sock, ask("grub/grub.cfg"), here(running))
                assert said == Data(1, b"menu")
                break
        else:
            pytest.fail("a good request after the flood was not answered")
    assert running.thread.is_alive()


@pytest.mark.rule("fault-15")
def test_stopping_lets_a_running_transfer_finish_and_turns_new_ones_away(tree: Path) -> None:
    with serving(tree) as made:
        with udp() as sock, udp("127.0.0.3") as late:
            client = Client()
            said, tid = exchange(sock, ask("snponly.efi"), here(made))
            made.server.stop(grace=20)
            refused, _ = exchange(late, ask("snponly.efi"), here(made))
            assert isinstance(refused, Error)
            assert "shutting down" in refused.message
            while True:
                [reply] = client.take(said)
                if client.done:
                    sock.sendto(encode(reply), tid)
                    break
                said, _ = exchange(sock, reply, tid)
        assert client.received == (tree / "snponly.efi").read_bytes()
        made.thread.join(10)
        assert not made.thread.is_alive()


def test_an_address_that_cannot_be_bound_is_refused_with_the_remedy(tree: Path) -> None:
    with (
        serving(tree) as made,
        pytest.raises(InvalidValue, match="stop that TFTP server"),
        serving(tree, port=made.port),
    ):
        pass
    with pytest.raises(InvalidValue, match="give an interface this address"), serving(tree, listen="192.0.2.1"):
        pass
    with pytest.raises(InvalidValue, match="create it or correct"), serving(tree / "nowhere"):
        pass


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
