"""The drawer's story of one machine, from its events. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from provisioner.domain.events import Event, Kind
from provisioner.domain.spoken import clock, day, detail, exact, iso

_BAD = frozenset({Kind.REPORT_FAILED, Kind.BMC_ERROR, Kind.TOKEN_REFUSED, Kind.TFTP_REFUSED, Kind.DHCP_NAK})
_GOOD = frozenset({Kind.REPORT_COMPLETE, Kind.REPORT_ACTIVE})


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. ``tone``: good, bad or plain. ``log``: an uploaded log rather than details."""

    id: int
    at: int
    time: str
    exact: str
    iso: str
    day: str
    """Set on the first entry of a day, as its heading."""
    sentence: str
    phase: str
    actor: str
    mac: str
    kind: str
    detail: str
    log: str
    tone: str


def entries(events: Iterable[Event]) -> tuple[Entry, ...]:
    """Newest first, as given; a heading where the day changes."""
    told: list[Entry] = []
    heading = ""
    for event in events:
        this_day = day(event.at)
        told.append(_entry(event, this_day if this_day != heading else ""))
        heading = this_day
    return tuple(told)


def _entry(event: Event, heading: str) -> Entry:
    data = dict(event.data)
    log = str(data.pop("text", "")) if event.kind is Kind.REPORT_LOG else ""
    return Entry(
        id=event.id,
        at=event.at,
        time=clock(event.at),
        exact=exact(event.at),
        iso=iso(event.at),
        day=heading,
        sentence=event.message,
        phase=event.phase or "",
        actor=event.actor,
        mac=str(event.mac or ""),
        kind=event.kind.value,
        detail=detail(data),
        log=log,
        tone="bad" if event.kind in _BAD else "good" if event.kind in _GOOD else "plain",
    )
