"""threat-01 to threat-03: a token is not enough."""

from ipaddress import ip_address

import pytest

from provisioner.domain.admission import may_read_install, may_report
from provisioner.domain.mac import Mac
from provisioner.domain.machine import State
from tests.domain.samples import HOUR, NOW, install, machine

HERE = ip_address("10.12.1.17")
OWN = Mac.parse("52:54:00:12:34:56")
OTHER = Mac.parse("52:54:00:99:99:99")


@pytest.mark.rule("threat-01")
@pytest.mark.parametrize(
    ("state", "changes", "source", "neighbour", "later", "refusal"),
    [
        (State.ARMED, {}, "10.12.1.17", OWN, 0, ""),
        (State.INSTALLING, {}, "10.12.1.17", OWN, 0, ""),
        (State.INSTALLING, {}, "10.12.1.17", None, 0, ""),
        (State.ARMED, {}, "10.12.1.18", OWN, 0, "asked from 10.12.1.18"),
        (State.ARMED, {}, "10.12.1.17", OTHER, 0, "held by 52:54:00:99:99:99"),
        (State.ARMED, {}, "10.12.1.17", OWN, HOUR + 1, "passed its deadline"),
        (State.INSTALLED, {"outcome": "complete"}, "10.12.1.17", OWN, 0, "nothing is being installed"),
        (State.READY, {"outcome": "disarmed"}, "10.12.1.17", OWN, 0, "nothing is being installed"),
    ],
)
def test_who_may_read_an_install(
    state: State, changes: dict[str, object], source: str, neighbour: Mac | None, later: int, refusal: str
) -> None:
    subject = machine(state=state, install=install(**changes))
    admission = may_read_install(subject, ip_address(source), neighbour, NOW + later)
    assert bool(admission) is (not refusal)
    assert refusal in admission.refusal


@pytest.mark.rule("threat-03")
@pytest.mark.parametrize(
    ("state", "outcome", "kind", "admitted"),
    [
        (State.INSTALLING, "", "progress", True),
        (State.INSTALLING, "", "complete", True),
        (State.ARMED, "", "complete", False),
        (State.INSTALLED, "complete", "complete", True),
        (State.INSTALLED, "complete", "failed", False),
        (State.FAILED, "failed", "failed", True),
        (State.FAILED, "failed", "complete", False),
        (State.FAILED, "failed", "log", True),
        (State.READY, "disarmed", "log", False),
    ],
)
def test_terminal_reports_may_be_repeated_but_not_contradicted(
    state: State, outcome: str, kind: str, admitted: bool
) -> None:
    subject = machine(state=state, install=install(outcome=outcome))
    assert bool(may_report(subject, kind, HERE, OWN, NOW)) is admitted
