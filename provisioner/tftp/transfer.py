"""One read, from request to last ACK, without a socket or a clock.

The four verbs are ``receive_datagram``, ``handle_timer``, ``datagrams_to_send`` and ``get_timer``. Times are
seconds of any monotonic clock. RFC 1350 (lock step), 2347–2349 (options), 7440 (windowsize), 1123 §4.2.3.1.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from provisioner.tftp.packet import (
    Ack,
    Error,
    ErrorCode,
    MalformedPacket,
    Opcode,
    OptionAck,
    Request,
    decode,
    encode,
)

_DATA = Opcode.DATA.to_bytes(2, "big")
DEFAULT_BLKSIZE = 512
"""RFC 1350: without the option."""
BLKSIZE_RANGE = range(8, 65465)
"""RFC 2348."""
TIMEOUT_RANGE = range(1, 256)
"""Seconds, RFC 2349."""
WINDOWSIZE_RANGE = range(1, 65536)
"""RFC 7440."""
FIRST_TIMEOUT = 1.0
"""Seconds until the first repetition when the client asks for no timeout of its own."""
LONGEST_TIMEOUT = 15.0
"""Seconds; cap of the exponential backoff, also when the client asked for more."""
GIVE_UP_AFTER = 60.0
"""Seconds without progress; EDK2 stops asking after 24, iPXE after about as long."""
GAP_PATIENCE = 0.01
"""Seconds between a sign of a gap and the repetition: strays and reordering look like gaps for a moment, and a
resumption makes strays of its own."""
FINAL_REPEATS = 3
"""Repetitions of the last window: some clients never acknowledge it (tftp-13)."""


class Source(Protocol):
    """What is read. ``read`` may raise OSError."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...


class Ending(Enum):
    """How a transfer ended."""

    DONE = "done"
    PROBE = "probe"
    """The client only wanted the size (tftp-07)."""
    ABORTED = "aborted"
    """The client sent an error."""
    SILENT = "silent"
    """The client stopped answering."""
    BROKEN = "broken"
    """The file could not be read to its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end and, for all but a plain success, why."""

    ending: Ending
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What client and server agreed on."""

    blksize: int = DEFAULT_BLKSIZE
    windowsize: int = 1
    timeout: float = FIRST_TIMEOUT
    acknowledged: tuple[tuple[str, str], ...] = ()
    """The options for the OACK, in the client's order; empty: no OACK is sent."""


def negotiate(request: Request, size: int, max_blksize: int, max_windowsize: int) -> Terms:
    """Only what was asked and is understood is answered, and never more than was asked (tftp-03).

    An unusable value drops its option (tftp-05): the transfer goes on as if it had not been asked for.
    """
    blksize, windowsize, timeout = DEFAULT_BLKSIZE, 1, FIRST_TIMEOUT
    taken: list[tuple[str, str]] = []
    for name, value in request.options.items():
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
        if number is None:
            continue
        if name == "blksize" and number in BLKSIZE_RANGE:
            blksize = max(BLKSIZE_RANGE.start, min(number, max_blksize))
            taken.append((name, str(blksize)))
        elif name == "tsize":
            taken.append((name, str(size)))
        elif name == "timeout" and number in TIMEOUT_RANGE:
            timeout = min(float(number), LONGEST_TIMEOUT)
            taken.append((name, value))  # Echoed as it was written: EDK2 refuses a changed one.
        elif name == "windowsize" and number in WINDOWSIZE_RANGE:
            windowsize = min(number, max_windowsize)
            taken.append((name, str(windowsize)))
    return Terms(blksize, windowsize, timeout, tuple(taken))


class Transfer:
    """Sends one source to one client."""

    def __init__(
        self,
        request: Request,
        source: Source,
        client: Hashable,
        now: float,
        *,
        max_blksize: int = 1468,
        max_windowsize: int = 32,
    ) -> None:
        """``client`` is the peer's socket address (its TID); datagrams from another get error 5."""
        self.request = request
        self.client = client
        self.terms = negotiate(request, source.size, max_blksize, max_windowsize)
        self.outcome: Outcome | None = None
        self.heard_at = now
        """When the client was last heard."""
        self.repeats = 0
        """Timer-driven repetitions so far, for the log."""
        self._source = source
        # Blocks are counted without wrapping; the wire carries the low 16 bits (tftp-11).
        self._last = source.size // self.terms.blksize + 1
        self._acked = -1 if self.terms.acknowledged else 0  # -1: the OACK is not acknowledged yet.
        self._sent = 0
        self._resumed_at = -1
        self._gap = False
        self._progress_at = now
        self._wait = self.terms.timeout
        self._repeats_of_last = 0
        self._timer: float | None = None
        self._outbox: list[tuple[bytes, Hashable]] = []
        self._send_from_ack(now)

    @property
    def started(self) -> bool:
        """The client has acknowledged something."""
        return self._sent > 0 and (self._acked > 0 or bool(self.terms.acknowledged))

    def datagrams_to_send(self) -> list[tuple[bytes, Hashable]]:
        """Datagrams with their destinations, oldest first; each is returned once."""
        ready, self._outbox = self._outbox, []
        return ready

    def get_timer(self) -> float | None:
        """When ``handle_timer`` is to be called; None once the transfer has ended."""
        return self._timer

    def handle_timer(self, now: float) -> None:
        """Repeat what was not acknowledged, or give up."""
        if self._timer is None or now < self._timer:
            return
        if self._gap:
            # RFC 7440 §4: resume behind the last block that arrived.
            self._resumed_at = self._acked
            self._send_from_ack(now)
            return
        if self._awaits_last_ack:
            self._repeats_of_last += 1
            if self._repeats_of_last > FINAL_REPEATS:
                self._end(Ending.DONE, "the last ACK was not seen")
                return
        elif now - self._progress_at >= GIVE_UP_AFTER:
            self._end(Ending.SILENT, f"no answer for {GIVE_UP_AFTER:.0f} s at {self._position}")
            return
        # RFC 1123 §4.2.3.2: the timeout must grow exponentially.
        self._wait = min(self._wait * 2, LONGEST_TIMEOUT)
        self.repeats += 1
        self._send_from_ack(now)

    def receive_datagram(self, datagram: bytes, sender: Hashable, now: float) -> None:
        """Take what arrived at this transfer's port."""
        try:
            packet = decode(datagram)
        except MalformedPacket:
            return  # Neither an answer nor a reason to stop: the timer recovers from it.
        if sender != self.client:
            # RFC 1350 §4: tell the stranger, leave the transfer alone. No error is answered by an error.
            if not isinstance(packet, Error):
                self._outbox.append((encode(Error(ErrorCode.UNKNOWN_TID, "unknown transfer ID")), sender))
            return
        if self.outcome is not None:
            return
        self.heard_at = now
        match packet:
            case Ack(block):
                self._receive_ack(block, now)
            case Error(code, message):
                self._receive_error(code, message)
            case _:
                pass  # DATA, OACK or a request have no meaning here (RFC 1350 §4); the timer goes on.

    def receive_repeated_request(self, now: float) -> None:
        """The client asked again: our first answer was lost. Answer again, one for one."""
        self.heard_at = now
        if self.outcome is None and not self.started:
            self._progress_at = now
            self._send_from_ack(now)

    def _receive_ack(self, block: int, now: float) -> None:
        if self._acked < 0:
            if block == 0:
                self._advance(0, now)
            return
        ahead = (block - self._acked) & 0xFFFF
        if ahead > self._sent - self._acked:
            return  # An old ACK that was long on its way.
        if ahead:
            self._advance(self._acked + ahead, now)
        elif self.terms.windowsize > 1 and self._resumed_at != self._acked and not self._gap:
            # The window's first block got lost. Once per ACK value: a client that sends one ACK per stray
            # block would otherwise multiply the traffic without end (tftp-09).
            self._suspect_gap(now)
        # Lock step: a duplicate ACK never causes a repetition, RFC 1123 §4.2.3.1 (tftp-10).

    def _advance(self, acked: int, now: float) -> None:
        self._acked = acked
        self._progress_at = now
        self._wait = self.terms.timeout
        if acked == self._last:
            self._end(Ending.DONE)
        elif acked < self._sent:
            self._suspect_gap(now)
        else:
            self._send_from_ack(now)

    def _suspect_gap(self, now: float) -> None:
        self._gap = True
        self._timer = now + GAP_PATIENCE

    def _receive_error(self, code: int, message: str) -> None:
        # EDK2 learns the size by a request that it aborts after the OACK; others use other codes (tftp-07).
        if "tsize" in self.request.options and not self.started:
            self._end(Ending.PROBE)
        else:
            self._end(Ending.ABORTED, f"the client stopped at {self._position}: error {code} {message!r}")

    def _send_from_ack(self, now: float) -> None:
        """Send the OACK, or the window that begins behind what is acknowledged."""
        self._gap = False
        self._timer = now + self._wait
        if self._acked < 0:
            self._queue(OptionAck(dict(self.terms.acknowledged)))
            return
        blksize = self.terms.blksize
        end = min(self._acked + self.terms.windowsize, self._last)
        for block in range(self._acked + 1, end + 1):
            offset = (block - 1) * blksize
            length = min(blksize, self._source.size - offset)
            try:
                payload = self._source.read(offset, length)
            except OSError as error:
                self._break_off(f"cannot be read at byte {offset}: {error.strerror or error}")
                return
            if len(payload) != length:
                self._break_off(f"became shorter than {self._source.size} bytes while it was read")
                return
            # As encode(Data(…)), which is half of what a block costs.
            self._outbox.append((_DATA + (block & 0xFFFF).to_bytes(2, "big") + payload, self.client))
        self._sent = end

    def _break_off(self, reason: str) -> None:
        self._queue(Error(ErrorCode.NOT_DEFINED, f"{self.request.filename} {reason}"))
        self._end(Ending.BROKEN, reason)

    def _end(self, ending: Ending, reason: str = "") -> None:
        self.outcome = Outcome(ending, reason)
        self._timer = None

    def _queue(self, packet: Error | OptionAck) -> None:
        self._outbox.append((encode(packet), self.client))

    @property
    def _awaits_last_ack(self) -> bool:
        return self._sent == self._last

    @property
    def _position(self) -> str:
        return "the option negotiation" if self._acked < 0 else f"block {self._acked} of {self._last}"
