"""The doctor of a running service: looks by itself now and then, and thoroughly when somebody asks."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from provisioner.doctor.findings import Finding, Level, worst_first

log = structlog.get_logger()
_FIRST_SECONDS = 20.0
_EVERY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Report:
    """``at``: UTC microseconds. ``deep``: the wires were asked and files were fetched, too."""

    findings: tuple[Finding, ...]
    at: int
    deep: bool

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level is Level.PROBLEM)


class Checkup:
    """``examine(deep)`` does the looking, one at a time; threads may share this."""

    def __init__(self, examine: Callable[[bool], Sequence[Finding]], clock: Callable[[], int]) -> None:
        self._examine, self._clock = examine, clock
        self._looking = threading.Lock()
        self.latest: Report | None = None

    def look(self, *, deep: bool) -> Report:
        """Blocking: a second, or ten if deep."""
        with self._looking:
            self.latest = Report(tuple(worst_first(self._examine(deep))), self._clock(), deep)
            return self.latest

    def run(self, stop: threading.Event) -> None:
        """Until stopped. Not at once: a service that starts has better to do."""
        pause = _FIRST_SECONDS
        while not stop.wait(pause):
            pause = _EVERY_SECONDS
            try:
                self.look(deep=False)
            except Exception:  # A doctor who stumbles must not take the page with him.
                log.exception("the doctor could not look")
