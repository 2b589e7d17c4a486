"""A control plane asks which machines join its cluster; nobody else is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.actions import arm, clusters, enrol
from provisioner.domain import lifecycle
from provisioner.domain.tokens import join_token, joining_secret
from tests.web.appliance import HOUR, IP, MAC, OTHER_IP, OTHER_MAC, SECOND, Appliance, make_appliance


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    for made in make_appliance(tmp_path):
        made.add("control-1", MAC, IP)
        made.add("worker-1", OTHER_MAC, OTHER_IP, role="worker")
        fields = {"endpoint": "10.12.1.100:6443"}
        clusters.put_cluster(made.store, "blue", fields, actor="test", now=made.clock(), create=True)
        for name in ("control-1", "worker-1"):
            enrol.change_machine(made.store, name, {"cluster": "blue"}, actor="test", now=made.clock())
        made.arm("control-1")
        yield made


def _url(appliance: Appliance, name: str = "control-1") -> str:
    cluster = appliance.store.inventory().clusters["blue"]
    return f"/m/{appliance.machine_token(name)}/joining/{joining_secret(appliance.parts.token_key, cluster.id)}"


def _line(appliance: Appliance, name: str) -> str:
    install = appliance.machine(name).install
    assert install
    return f"{join_token(appliance.parts.token_key, install.id)} {name}\n"


def test_an_armed_worker_may_join_until_two_hours_after_it_was_installed(appliance: Appliance) -> None:
    control, worker = appliance.client(), appliance.client(OTHER_IP)
    assert control.get(_url(appliance)).text == _line(appliance, "control-1")
    appliance.arm("worker-1")
    both = _line(appliance, "control-1") + _line(appliance, "worker-1")
    assert control.get(_url(appliance)).text == both
    token = appliance.token("worker-1")
    worker.get(f"/boot.ipxe?mac={OTHER_MAC}")
    worker.get(f"/b/{token}/install.sh")
    worker.post(f"/b/{token}/complete", json={})
    appliance.clock.advance(2 * HOUR / SECOND - 1)
    assert control.get(_url(appliance)).text == both
    appliance.clock.advance(2)
    assert control.get(_url(appliance)).text == _line(appliance, "control-1")


@pytest.mark.parametrize("step", ["retired", "quarantined"])
def test_a_control_plane_that_left_is_told_nothing(appliance: Appliance, step: str) -> None:
    """Its disk may be in other hands, with the machine token on it."""
    url = _url(appliance)
    assert appliance.client().get(url).status_code == 200
    if step == "retired":
        arm.retire(appliance.store, "control-1", actor="test", now=appliance.clock())
    else:
        with appliance.store.transaction("test") as tx:
            left = lifecycle.quarantined(tx.machines.get("control-1"), "another board", appliance.clock())
            tx.machines.put_progress(left)
    assert appliance.client().get(url).status_code == 403
    assert appliance.client().post(f"{url.partition('/joining')[0]}/active", json={}).status_code != 200


def test_neither_another_place_nor_a_worker_nor_a_guess_is_told(appliance: Appliance) -> None:
    appliance.arm("worker-1")
    url = _url(appliance)
    guess = f"/m/{appliance.machine_token('worker-1')}/joining/guess"
    assert appliance.client(OTHER_IP).get(url).status_code == 403
    assert appliance.client(OTHER_IP).get(guess).status_code == 403
    assert appliance.client().get(url.replace("/m/", "/m/x")).status_code == 403
    told = [event.message for event in appliance.refusals()]
    assert len(told) == 3
    assert "without the secret of its cluster's control planes" in told[1]
