"""``control-plane-first`` and ``worker`` in the lab: two machines install themselves and run their rendered units.

kubeadm, kubelet and kubectl are stand-ins (``stand_ins/``) that check arguments, files and order; what they check
is what the real ones need, but no container ever runs here.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_rack import Lab, end, start

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(2700)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("pair")
    payload = folder / "payload" / "kubernetes"
    shutil.copytree(Path(__file__).parent / "stand_ins", payload)
    (folder / "cni").mkdir()
    (folder / "cni/loopback").write_text("#!/bin/sh\n")
    (folder / "cni/loopback").chmod(0o755)
    subprocess.run(["tar", "-czf", payload / "cni-plugins.tgz", "-C", folder / "cni", "loopback"], check=True)
    options = (
        "--machines",
        "2",
        "--firmware",
        "mixed",
        "--role",
        "control-plane-first,worker",
        "--keep",
        "--timeout",
        "1800",
    )
    lab = start(folder / "lab", *options, "--payload", str(folder / "payload"))
    try:
        yield lab
    finally:
        end(lab)


def _told(lab: Lab) -> list[str]:
    """What the stand-ins said on the machines' consoles, each machine's in its order."""
    consoles = sorted(lab.directory.rglob("console.log"))
    lines = [line for file in consoles for line in file.read_text(errors="replace").splitlines()]
    return [line[line.index("stand-in ") :].strip() for line in lines if "stand-in " in line]


def test_the_pair_runs_its_units_in_order_with_the_right_arguments_and_files(lab: Lab) -> None:
    machines = lab.result(2000)
    assert [(m["role"], m["state"], m.get("error", "")) for m in machines] == [
        ("control-plane-first", "active", ""),
        ("worker", "active", ""),
    ], lab.log()
    wanted = (
        "stand-in kubeadm init: ok",
        "stand-in kubeadm join: ok",
        "stand-in kubectl --namespace kube-system rollout status deployment/coredns --timeout=120s",
    )
    until, told = time.monotonic() + 300, list[str]()
    while not all(line in told for line in wanted) or told.count("stand-in kubelet runs") < 2:
        assert time.monotonic() < until, "\n".join(told)
        assert not [line for line in told if "WRONG" in line], "\n".join(told)
        time.sleep(2)
        told = _told(lab)
    # The kubelet runs on both (its stand-in calls a start before kubeadm WRONG); the network was asked for again
    # until it was up, DNS after it.
    assert told.count("stand-in kubelet runs") == 2
    retried = told.index("stand-in kubectl network: not up yet")
    assert retried < told.index(wanted[2])
    # The worker's token was nobody's until the control plane had asked the appliance for it.
    assert next(line for line in told if line.endswith("for node-02")).startswith(
        "stand-in kubeadm token made valid"
    )
