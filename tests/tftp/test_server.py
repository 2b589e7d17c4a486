"""The server on loopback sockets: what a client sees, what the timeline says, and what cannot kill it."""

import random
import socket
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from uuid import uuid4

import pytest

from provisioner.domain.errors import InvalidValue
from provisioner.domain.events import Kind
from provisioner.domain.inventory import Inventory
from provisioner.domain.machine import Address, Machine, Phase, Slot, State
from provisioner.tftp.packet import Data, Error, Opcode, OptionAck, Request, encode
from tests.tftp.asking import exchange, fetch, here, udp
from tests.tftp.rig import Client, ask
from tests.tftp.serving import Serving, serving


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
