"""The state table of the design, as transitions and as a stateful life with lost, late and repeated reports."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from provisioner.domain import lifecycle
from provisioner.domain.boot import Action, plan_boot
from provisioner.domain.errors import IllegalTransition
from provisioner.domain.lifecycle import Report
from provisioner.domain.machine import Machine, OnFailure, Phase, State
from provisioner.domain.subnet import UnknownPolicy
from tests.domain.samples import HOUR, NOW, install, machine, subnet


def in_state(state: State, **changes: object) -> Machine:
    return machine(state=state, install=install(**changes))


ARM = [(state, state in (State.READY, State.ARMED, State.INSTALLED, State.ACTIVE, State.FAILED)) for state in State]


@pytest.mark.parametrize(("state", "allowed"), ARM, ids=[state.value for state, _ in ARM])
def test_which_states_may_be_armed(state: State, allowed: bool) -> None:
    if allowed:
        assert lifecycle.armed(in_state(state), install(), NOW).state is State.ARMED
        return
    with pytest.raises(IllegalTransition) as refused:
        lifecycle.armed(in_state(state), install(), NOW)
    assert state.value in refused.value.problem
    assert refused.value.remedy


def test_a_machine_without_role_or_address_is_new_and_says_what_it_lacks() -> None:
    listed = lifecycle.settled(machine(ip="", role=""), NOW)
    assert listed.state is State.NEW
    assert listed.state_reason == "lacks a role and an address"
    assert lifecycle.settled(replace(machine(), state=State.NEW), NOW).state is State.READY


def test_attempts_are_counted_when_the_script_is_handed_out_not_when_it_reports() -> None:
    armed = in_state(State.ARMED)
    first = lifecycle.install_script_served(lifecycle.boot_script_served(armed), NOW)
    assert first.install is not None
    assert (first.state, first.install.attempts) == (State.INSTALLING, 1)
    again = lifecycle.install_script_served(first, NOW)
    assert again.install is not None
    assert again.install.attempts == 1, "a retry within the same boot is no attempt"
    rebooted = lifecycle.install_script_served(lifecycle.boot_script_served(first), NOW)
    assert rebooted.install is not None
    assert rebooted.install.attempts == 2


@pytest.mark.rule("fault-13")
@pytest.mark.parametrize(
    ("on_failure", "action"),
    [(OnFailure.DISK, Action.DISK), (OnFailure.RESCUE, Action.RESCUE), (OnFailure.POWER_OFF, Action.POWER_OFF)],
)
def test_with_every_callback_lost_it_installs_at_most_n_times(on_failure: OnFailure, action: Action) -> None:
    subject = in_state(State.ARMED, max_attempts=3, on_failure=on_failure)
    installs = 0
    for _boot in range(10):
        plan = plan_boot(subject, subnet(), NOW)
        if plan.action is not Action.INSTALL:
            break
        subject = lifecycle.install_script_served(lifecycle.boot_script_served(subject), NOW)
        installs += 1
    assert installs == 3
    assert plan.action is action
    assert "3 attempts" in plan.reason


def test_complete_and_failed_may_be_repeated() -> None:
    done = lifecycle.after(in_state(State.INSTALLING), Report("complete"), NOW)
    assert done.state is State.INSTALLED
    assert lifecycle.after(done, Report("complete"), NOW + 1) == done
    failed = lifecycle.after(in_state(State.INSTALLING), Report("failed", Phase.DISK, message="no disk"), NOW)
    assert (failed.state, failed.state_reason) == (State.FAILED, "in phase disk: no disk")
    assert lifecycle.after(failed, Report("failed"), NOW + 1) == failed


def test_a_late_complete_does_not_undo_a_failure() -> None:
    failed = lifecycle.after(in_state(State.INSTALLING), Report("failed", Phase.DISK), NOW)
    with pytest.raises(IllegalTransition):
        lifecycle.after(failed, Report("complete"), NOW)


def test_the_installed_system_proves_a_complete_whose_callback_was_lost() -> None:
    active = lifecycle.after(in_state(State.INSTALLING), Report("active"), NOW)
    assert active.state is State.ACTIVE
    assert active.install is not None
    assert active.install.outcome == "complete"


@pytest.mark.rule("fault-13")
def test_it_proves_too_that_what_was_only_given_up_had_succeeded() -> None:
    installing = in_state(State.INSTALLING)
    assert installing.install is not None
    silent = lifecycle.overdue(installing, NOW + lifecycle.STALLED_AFTER + 1)
    late = lifecycle.overdue(installing, installing.install.deadline + 1)
    used_up = lifecycle.failed(installing, Phase.IMAGE, lifecycle.used_up(installing.install), NOW)
    for given_up in (silent, late, used_up):
        assert given_up is not None
        assert given_up.state is State.FAILED
        active = lifecycle.after(given_up, Report("active"), NOW)
        assert active.install is not None
        assert (active.state, active.install.outcome, active.install.phase) == (
            State.ACTIVE,
            "complete",
            Phase.ACTIVE,
        )
    # What reported its own failure stays failed: half a system boots, too.
    reported = lifecycle.after(installing, Report("failed", Phase.PAYLOAD, message="no payload"), NOW)
    with pytest.raises(IllegalTransition):
        lifecycle.after(reported, Report("active"), NOW)


def test_an_old_system_that_reports_while_armed_again_changes_nothing() -> None:
    with pytest.raises(IllegalTransition):
        lifecycle.after(in_state(State.ARMED), Report("active"), NOW)


@pytest.mark.parametrize(
    ("state", "changes", "later", "becomes"),
    [
        (State.ARMED, {}, HOUR + 1, State.READY),
        (State.ARMED, {}, HOUR, None),
        (State.INSTALLING, {}, HOUR + 1, State.FAILED),
        (State.INSTALLING, {"phase_at": NOW}, lifecycle.STALLED_AFTER + 1, State.FAILED),
        (State.INSTALLING, {"phase_at": NOW}, lifecycle.STALLED_AFTER, None),
        (State.INSTALLED, {"outcome": "complete"}, 10 * HOUR, None),
    ],
)
def test_deadlines_and_stalls(state: State, changes: dict[str, object], later: int, becomes: State | None) -> None:
    after = lifecycle.overdue(in_state(state, **changes), NOW + later)
    assert (after.state if after else None) is becomes


BOOTS = [
    (State.READY, Action.DISK),
    (State.ARMED, Action.INSTALL),
    (State.INSTALLING, Action.INSTALL),
    (State.INSTALLED, Action.DISK),
    (State.ACTIVE, Action.DISK),
    (State.FAILED, Action.DISK),
    (State.QUARANTINED, Action.EXPLAIN),
    (State.RETIRED, Action.NOTHING),
    (State.NEW, Action.NOTHING),
]


@pytest.mark.parametrize(("state", "action"), BOOTS, ids=[state.value for state, _ in BOOTS])
def test_what_a_netboot_gets_in_each_state_and_that_it_says_why(state: State, action: Action) -> None:
    plan = plan_boot(in_state(state), subnet(), NOW)
    if state is State.QUARANTINED:
        plan = plan_boot(lifecycle.quarantined(machine(), "serial differs", NOW), subnet(), NOW)
    assert plan.action is action
    assert plan.reason


@pytest.mark.parametrize(
    ("policy", "action"),
    [
        (UnknownPolicy.IGNORE, Action.NOTHING),
        (UnknownPolicy.ADDRESS, Action.ADDRESS_ONLY),
        (UnknownPolicy.ENROL, Action.DISCOVER),
        (UnknownPolicy.APPROVE, Action.DISCOVER),
    ],
)
def test_unknown_machines_get_the_subnets_policy(policy: UnknownPolicy, action: Action) -> None:
    assert plan_boot(None, subnet(unknown=policy), NOW).action is action
    assert plan_boot(None, None, NOW).action is Action.NOTHING


def test_phases_seen_from_outside_never_move_back_but_a_new_boot_starts_over() -> None:
    subject = lifecycle.observed(in_state(State.ARMED), Phase.KERNEL, NOW)
    assert subject.install is not None
    assert subject.install.phase is Phase.KERNEL
    same = lifecycle.observed(subject, Phase.LOADER, NOW)
    assert same == subject
    fresh = lifecycle.observed(subject, Phase.FIRMWARE, NOW)
    assert fresh.install is not None
    assert fresh.install.phase is Phase.FIRMWARE


class Life(RuleBasedStateMachine):
    """Operators, boots, reports and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.subject = machine()
        self.scripts = 0
        self.armed_times = 0

    @rule()
    def arm(self) -> None:
        if self.subject.state in (*lifecycle.ARMABLE, State.ARMED):
            self.subject = lifecycle.armed(
                self.subject, install(armed_at=self.now, deadline=self.now + HOUR), self.now
            )
            self.scripts = 0

    @rule()
    def boot(self) -> None:
        if plan_boot(self.subject, subnet(), self.now).action is Action.INSTALL:
            self.subject = lifecycle.boot_script_served(self.subject)
            self.subject = lifecycle.install_script_served(self.subject, self.now)
            self.scripts += 1

    @rule(kind=st.sampled_from(["progress", "complete", "failed", "active"]), phase=st.sampled_from(list(Phase)))
    def report(self, kind: str, phase: Phase) -> None:
        try:
            self.subject = lifecycle.after(self.subject, Report(kind, phase), self.now)
        except IllegalTransition as refused:
            assert refused.remedy

    @precondition(lambda self: self.subject.state is not State.NEW)
    @rule(minutes=st.integers(0, 90))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * 60_000_000
        self.subject = lifecycle.overdue(self.subject, self.now) or self.subject

    @rule(step=st.sampled_from([lifecycle.disarmed, lifecycle.released, lifecycle.retired, lifecycle.restored]))
    def operator(self, step: object) -> None:
        try:
            self.subject = step(self.subject, self.now)  # type: ignore[operator]
        except IllegalTransition as refused:
            assert refused.remedy

    @invariant()
    def never_more_scripts_than_attempts(self) -> None:
        assert self.scripts <= 3

    @invariant()
    def an_open_install_only_while_armed_or_installing(self) -> None:
        opened = self.subject.install is not None and self.subject.install.open
        assert opened == (self.subject.state in (State.ARMED, State.INSTALLING))

    @invariant()
    def only_armed_and_installing_machines_install(self) -> None:
        if plan_boot(self.subject, subnet(), self.now).action is Action.INSTALL:
            assert self.subject.state in (State.ARMED, State.INSTALLING)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
