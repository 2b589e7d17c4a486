"""What a read, or a refused one, looks like on a machine's timeline."""

import re
from collections.abc import Callable

from provisioner.domain.events import Event, Kind
from provisioner.domain.machine import IPAddress, Phase
from provisioner.domain.ports import Observer, SnapshotSource
from provisioner.tftp.transfer import Ending, Transfer

_OPTIONAL = re.compile(r"(^|/)((revocations_s\w+|shim_certificate_\d+)\.efi|\w+-efi/\w+\.lst)$")
"""What shim (16, "Additional certificates and revocations") and GRUB look for and do without."""
IGNORED_PER_SECOND = 10
"""Events for packets that are no requests; a flood is counted, not listed."""


class Timeline:
    """Turns what the server saw into events. The machine is known by its reserved address."""

    def __init__(self, snapshot: SnapshotSource, observer: Observer, now: Callable[[], int]) -> None:
        """``now``: UTC microseconds."""
        self._snapshot = snapshot
        self._observer = observer
        self._now = now
        self._second = 0
        self._in_second = 0
        self._unlisted = 0

    def ended(self, ip: IPAddress, transfer: Transfer, size: int, seconds: float, *, superseded: bool) -> None:
        """A transfer is over."""
        name = transfer.request.filename
        outcome = transfer.outcome
        data: dict[str, object] = {"file": name, "bytes": size, "seconds": round(seconds, 3)}
        if transfer.repeats:
            data["repeats"] = transfer.repeats
        if outcome is None:
            why = "began anew" if superseded else "was cut short"
            self._observe(Kind.TFTP_REFUSED, ip, f"read of {name} {why} before its end", data)
        elif outcome.ending is Ending.DONE:
            note = f"; {outcome.reason}" if outcome.reason else ""
            self._observe(
                Kind.TFTP_READ, ip, f"read {name}, {_amount(size)} in {seconds:.1f} s{note}", data, _phase(name)
            )
        elif outcome.ending is Ending.PROBE:
            self._observe(
                Kind.TFTP_READ, ip, f"asked for the size of {name}: {_amount(size)}", {**data, "probe": True}
            )
        else:
            self._observe(Kind.TFTP_REFUSED, ip, f"read of {name} failed: {outcome.reason}", data)

    def refused(self, ip: IPAddress, name: str, reason: str) -> None:
        """A request got an error instead of a file."""
        if _OPTIONAL.search(name):
            self._observe(Kind.TFTP_READ, ip, f"asked for {name}, which it can do without", {"file": name})
            return
        self._observe(Kind.TFTP_REFUSED, ip, f"asked for {name}; refused: {reason}", {"file": name})

    def ignored(self, ip: IPAddress, what: str) -> None:
        """A packet that is no request. Anybody can send thousands of them a second."""
        second = self._now() // 1_000_000
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > IGNORED_PER_SECOND:
            self._unlisted += 1
            return
        more = f" (and {self._unlisted} such packets before that are not listed)" if self._unlisted else ""
        self._unlisted = 0
        self._observe(Kind.TFTP_REFUSED, ip, f"ignored {what}{more}", {})

    def _observe(
        self, kind: Kind, ip: IPAddress, message: str, data: dict[str, object], phase: Phase | None = None
    ) -> None:
        machine = self._snapshot.inventory.by_ip(ip)
        self._observer.observe(
            Event(
                kind=kind,
                message=message if machine else f"{ip} {message}",
                at=self._now(),
                machine_id=machine.id if machine else None,
                phase=phase if machine else None,
                actor="tftp",
                data={"ip": str(ip), **data},
            )
        )


def _phase(name: str) -> Phase:
    return Phase.KERNEL if name.lstrip("/").startswith("images/") else Phase.LOADER


def _amount(size: int) -> str:
    """Bytes as people say them, in powers of ten."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"
