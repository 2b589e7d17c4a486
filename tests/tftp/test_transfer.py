"""The transfer alone: simulated loss, a clock that is a number, no sockets."""

import os
from itertools import pairwise

import pytest

from provisioner.tftp.packet import Ack, Data, Error, ErrorCode, OptionAck, Packet, decode, encode
from provisioner.tftp.transfer import FINAL_REPEATS, GIVE_UP_AFTER, Ending, Transfer, negotiate
from tests.tftp.rig import CLIENT, Client, Content, acknowledge, ask, chance, packets, run


@pytest.mark.rule("tftp-03")
@pytest.mark.rule("tftp-05")
@pytest.mark.rule("tftp-06")
@pytest.mark.rule("tftp-08")
@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({}, {}),
        ({"multicast": "1", "x": "y"}, {}),
        ({"tsize": "0"}, {"tsize": "1000"}),
        ({"blksize": "1432", "tsize": "0"}, {"blksize": "1432", "tsize": "1000"}),
        ({"blksize": "65464"}, {"blksize": "1468"}),
        ({"blksize": "7"}, {}),
        ({"blksize": "65465"}, {}),
        ({"blksize": "abc", "tsize": "0"}, {"tsize": "1000"}),
        ({"blksize": "-5"}, {}),
        ({"blksize": "٥١٢"}, {}),
        ({"timeout": "5"}, {"timeout": "5"}),
        ({"timeout": "005"}, {"timeout": "005"}),
        ({"timeout": "0"}, {}),
        ({"timeout": "256"}, {}),
        ({"windowsize": "4"}, {"windowsize": "4"}),
        ({"windowsize": "65535"}, {"windowsize": "32"}),
        ({"windowsize": "0"}, {}),
        ({"windowsize": "65536"}, {}),
    ],
    # mutmut names tests on a command line, where an escaped digit of another script is not found again.
    ids=lambda value: (
        ",".join(f"{k}={v}" for k, v in value.items()).encode("ascii", "replace").decode() or "nothing"
    ),
)
def test_only_asked_and_usable_options_are_answered_and_never_with_more(
    asked: dict[str, str], answered: dict[str, str]
) -> None:
    assert dict(negotiate(ask(**asked), 1000, 1468, 32).acknowledged) == answered


@pytest.mark.rule("tftp-03")
def test_without_a_usable_option_data_comes_at_once() -> None:
    transfer = Transfer(ask(foo=1, blksize="abc"), Content(b"hello"), CLIENT, 0.0)
    assert packets(transfer) == [Data(1, b"hello")]


@pytest.mark.rule("tftp-12")
@pytest.mark.parametrize(
    ("size", "blocks"), [(0, [0]), (1, [1]), (511, [511]), (512, [512, 0]), (1024, [512, 512, 0]), (513, [512, 1])]
)
def test_the_last_block_is_short_and_an_exact_multiple_ends_with_an_empty_one(size: int, blocks: list[int]) -> None:
    content = os.urandom(size)
    transfer = Transfer(ask(), Content(content), CLIENT, 0.0)
    said = packets(transfer)
    for number in range(1, len(blocks) + 1):
        assert transfer.outcome is None
        said += acknowledge(transfer, number, 0.1)
    assert [len(p.payload) for p in said if isinstance(p, Data)] == blocks
    assert b"".join(p.payload for p in said if isinstance(p, Data)) == content
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.DONE
    assert transfer.get_timer() is None


@pytest.mark.rule("tftp-11")
@pytest.mark.parametrize("windowsize", [pytest.param(1, marks=pytest.mark.system), 16])
def test_block_numbers_wrap_twice(windowsize: int) -> None:
    size = 8 * (2 * 65536 + 100) + 3
    transfer = Transfer(ask(blksize=8, windowsize=windowsize), Content(pattern_size=size), CLIENT, 0.0)
    client = Client()
    run(transfer, client)
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.DONE
    expected = b"".join((offset // 7).to_bytes(8, "big")[: min(8, size - offset)] for offset in range(0, size, 8))
    assert client.received == expected


@pytest.mark.rule("tftp-11")
@pytest.mark.system
def test_beyond_four_gigabytes_every_offset_is_read_once_and_in_order() -> None:
    blksize, size, reads = 65464, 2**32 + 2**20, 0
    block = bytes(blksize)

    class Huge(Content):
        def read(self, offset: int, length: int) -> bytes:
            nonlocal reads
            assert offset == reads * blksize
            reads += 1
            return block[:length]

    transfer = Transfer(
        ask(blksize=blksize, windowsize=32), Huge(pattern_size=size), CLIENT, 0.0, max_blksize=blksize
    )
    packets(transfer)
    acked = 0
    while transfer.outcome is None:
        transfer.receive_datagram(encode(Ack(acked & 0xFFFF)), CLIENT, 0.0)
        said = transfer.datagrams_to_send()
        acked += len(said)
        if said:
            assert int.from_bytes(said[-1][0][2:4], "big") == acked & 0xFFFF
    assert reads == size // blksize + 1
    assert len(said) == 0
    assert transfer.outcome.ending is Ending.DONE


@pytest.mark.rule("tftp-07")
@pytest.mark.parametrize("code", [8, 0])
def test_a_size_probe_ends_silently(code: int) -> None:
    transfer = Transfer(ask(tsize=0, blksize=1468), Content(b"x" * 174_000), CLIENT, 0.0)
    assert packets(transfer) == [OptionAck({"tsize": "174000", "blksize": "1468"})]
    transfer.receive_datagram(encode(Error(code, "User aborted the transfer")), CLIENT, 0.1)
    assert packets(transfer) == []
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.PROBE


def test_an_abort_in_the_middle_is_told_with_the_place_and_the_clients_words() -> None:
    transfer = Transfer(ask(tsize=0), Content(b"x" * 2000), CLIENT, 0.0)
    acknowledge(transfer, 0, 0.1)
    acknowledge(transfer, 1, 0.1)
    transfer.receive_datagram(encode(Error(3, "disk full")), CLIENT, 0.2)
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.ABORTED
    assert transfer.outcome.reason == "the client stopped at block 1 of 4: error 3 'disk full'"


@pytest.mark.rule("tftp-02")
def test_a_stranger_gets_error_5_and_the_transfer_goes_on() -> None:
    stranger = ("192.0.2.66", 2070)
    transfer = Transfer(ask(), Content(b"x" * 700), CLIENT, 0.0)
    packets(transfer)
    transfer.receive_datagram(encode(Ack(1)), stranger, 0.1)
    transfer.receive_datagram(encode(Error(0, "die")), stranger, 0.1)
    [(datagram, to)] = transfer.datagrams_to_send()
    assert to == stranger
    told = decode(datagram)
    assert isinstance(told, Error)
    assert told.code == ErrorCode.UNKNOWN_TID
    assert acknowledge(transfer, 1, 0.2) == [Data(2, b"x" * 188)]


@pytest.mark.rule("tftp-10")
def test_in_lock_step_a_duplicate_ack_repeats_nothing() -> None:
    transfer = Transfer(ask(), Content(b"x" * 5000), CLIENT, 0.0)
    packets(transfer)
    assert acknowledge(transfer, 1, 0.1) == [Data(2, b"x" * 512)]
    timer = transfer.get_timer()
    for _ in range(5):
        assert acknowledge(transfer, 1, 0.2) == []
    assert acknowledge(transfer, 0, 0.2) == []
    assert transfer.get_timer() == timer, "nor does it bring the repetition forward"
    assert acknowledge(transfer, 2, 0.3) == [Data(3, b"x" * 512)]


@pytest.mark.rule("tftp-10")
def test_repetitions_back_off_exponentially_and_end() -> None:
    booted = 5000.0
    """A monotonic clock counts from anywhere."""
    transfer = Transfer(ask(), Content(b"x" * 5000), CLIENT, booted)
    times = [booted]
    packets(transfer)
    while (timer := transfer.get_timer()) is not None:
        transfer.handle_timer(timer)
        if packets(transfer):
            times.append(timer)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[:4] == [1, 2, 4, 8]
    assert gaps == sorted(gaps)
    assert GIVE_UP_AFTER / 2 < times[-1] - booted < 2 * GIVE_UP_AFTER
    assert transfer.repeats == len(gaps)
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.SILENT
    assert transfer.outcome.reason == "no answer for 60 s at block 0 of 10"


@pytest.mark.rule("tftp-09")
def test_a_gap_resumes_behind_the_ack_once_per_value() -> None:
    transfer = Transfer(ask(windowsize=4, blksize=512), Content(b"x" * 512 * 20), CLIENT, 0.0)
    packets(transfer)
    assert _blocks(acknowledge(transfer, 0, 0.1)) == [1, 2, 3, 4]
    # Block 3 was lost: the client acknowledges 2, several times.
    assert _acknowledged(transfer, 2, times=10, now=0.2) == [3, 4, 5, 6]
    assert _acknowledged(transfer, 2, times=10, now=0.3) == []
    assert _blocks(acknowledge(transfer, 6, 0.4)) == [7, 8, 9, 10]
    # Now the first of the window was lost: the ACK of before is repeated.
    assert _acknowledged(transfer, 6, times=10, now=0.5) == [7, 8, 9, 10]
    assert _acknowledged(transfer, 6, times=10, now=0.6) == []
    assert _acknowledged(transfer, 4, times=10, now=0.7) == []


@pytest.mark.rule("tftp-09")
def test_what_looks_like_a_gap_for_a_moment_repeats_nothing() -> None:
    transfer = Transfer(ask(windowsize=4), Content(b"x" * 512 * 20), CLIENT, 0.0)
    packets(transfer)
    acknowledge(transfer, 0, 0.1)
    assert _blocks(acknowledge(transfer, 2, 0.2)) == []
    transfer.handle_timer(0.2)
    assert packets(transfer) == []
    assert _blocks(acknowledge(transfer, 4, 0.201)) == [5, 6, 7, 8]


@pytest.mark.rule("tftp-09")
@pytest.mark.parametrize(("lost", "doubled"), [(0.0, 0.1), (0.05, 0.0), (0.05, 0.1), (0.01, 0.01)])
def test_a_client_that_acknowledges_every_stray_block_does_not_multiply_traffic(
    lost: float, doubled: float
) -> None:
    content = os.urandom(512 * 400)
    transfer = Transfer(ask(windowsize=16), Content(content), CLIENT, 0.0)
    client = Client()
    _, sent = run(transfer, client, lost=chance(5, lost), doubled=chance(6, doubled))
    assert client.received == content
    assert sent < 2 * 401


@pytest.mark.rule("tftp-13")
@pytest.mark.parametrize("options", [{}, {"windowsize": 4, "tsize": 0}])
def test_a_lost_last_ack_is_a_success(options: dict[str, int]) -> None:
    transfer = Transfer(ask(**options), Content(b"x" * 700), CLIENT, 0.0)
    packets(transfer)
    acknowledge(transfer, 0 if options else 1, 0.1)
    repeats = 0
    while (timer := transfer.get_timer()) is not None:
        transfer.handle_timer(timer)
        repeats += bool(packets(transfer))
    assert repeats == FINAL_REPEATS
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.DONE
    assert "last ACK" in transfer.outcome.reason


@pytest.mark.parametrize("windowsize", [1, 2, 4, 16, 32])
@pytest.mark.parametrize("seed", range(4))
def test_everything_arrives_with_a_tenth_of_the_packets_lost(windowsize: int, seed: int) -> None:
    content = os.urandom(1432 * 60 + seed)
    transfer = Transfer(ask(blksize=1432, windowsize=windowsize, tsize=0), Content(content), CLIENT, 0.0)
    client = Client()
    run(transfer, client, lost=chance(seed, 0.1), doubled=chance(seed + 99, 0.05))
    assert client.received == content
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.DONE


def test_a_file_that_shrinks_while_it_is_read_ends_with_an_error_not_with_wrong_bytes() -> None:
    source = Content(b"x" * 2000)
    transfer = Transfer(ask(), source, CLIENT, 0.0)
    packets(transfer)
    source.read = lambda offset, length: b"x" * 10  # type: ignore[method-assign]
    [told] = acknowledge(transfer, 1, 0.1)
    assert isinstance(told, Error)
    assert "shorter than 2000 bytes" in told.message
    assert transfer.outcome is not None
    assert transfer.outcome.ending is Ending.BROKEN
    assert "shorter than 2000 bytes" in transfer.outcome.reason


def test_a_disk_that_fails_in_the_middle_ends_the_read_with_the_place_and_the_reason() -> None:
    source = Content(b"x" * 2000)
    transfer = Transfer(ask(), source, CLIENT, 0.0)
    packets(transfer)

    def fail(offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    source.read = fail  # type: ignore[method-assign]
    [told] = acknowledge(transfer, 1, 0.1)
    assert isinstance(told, Error)
    assert told.message == "a cannot be read at byte 512: Input/output error"
    assert transfer.outcome is not None
    assert (transfer.outcome.ending, "Input/output" in transfer.outcome.reason) == (Ending.BROKEN, True)


def test_a_repeated_request_is_answered_again_until_the_client_was_heard() -> None:
    transfer = Transfer(ask(tsize=0), Content(b"x" * 700), CLIENT, 0.0)
    offer = [OptionAck({"tsize": "700"})]
    assert packets(transfer) == offer
    transfer.receive_repeated_request(0.5)
    assert packets(transfer) == offer
    acknowledge(transfer, 0, 0.6)
    transfer.receive_repeated_request(0.7)
    assert packets(transfer) == []


def _blocks(said: list[Packet]) -> list[int]:
    return [packet.block for packet in said if isinstance(packet, Data)]


def _acknowledged(transfer: Transfer, block: int, *, times: int, now: float) -> list[int]:
    """Blocks sent after so many copies of an ACK and the moment in which a gap may prove to be none."""
    said = [packet for step in range(times) for packet in acknowledge(transfer, block, now + step / 1000)]
    transfer.handle_timer(now + 0.05)
    return _blocks(said + packets(transfer))
