"""Both shipped roles, rendered in full, beside readable files of what a machine is told.

After a deliberate change of a role: ``UPDATE_GOLDEN=1 pytest tests/cloud_configs/test_golden.py``, then read
the difference before committing it. (Synthetic: made by this test from invented machines.)
"""

import os
from pathlib import Path

import pytest

from provisioner.domain.machine import Machine
from tests.boot.rack import compiler, inventory, machine

GOLDEN = Path(__file__).parents[1] / "golden" / "boot"
KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExample operator@example"]
RACK: dict[str, tuple[Machine, ...]] = {
    "simple": (machine(1, params={"ssh_authorized_keys": KEYS}),),
    "worker": (
        machine(
            2,
            "worker",
            cluster="blue",
            params={
                "node_labels": {"zone": "a", "disk": "ssd fast"},
                "registry_mirror": "http://mirror.example:5000",
            },
        ),
        machine(3, "worker", cluster="blue"),
        machine(4, "simple", cluster="blue"),
        machine(5, "worker", cluster="green"),
    ),
}


@pytest.mark.parametrize("role", RACK)
def test_a_shipped_role_renders_to_its_golden_files(role: str) -> None:
    made = compiler()
    try:
        compiled = made.compile(RACK[role][0], inventory(*RACK[role]))
    finally:
        made.close()
    # The revision changes with every comment in a template; the golden files are about what a machine reads.
    files = {
        name: data.replace(compiled.revision[:12].encode(), b"REVISION") for name, data in compiled.files.items()
    }
    folder = GOLDEN / role
    if os.environ.get("UPDATE_GOLDEN") == "1":
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    there = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {name: data.decode() for name, data in files.items()} == {n: d.decode() for n, d in there.items()}
    # Nobody has added Kubernetes' programs here, and this worker's cluster is but a name.
    assert [said for said in compiled.warnings if not said.startswith("optional payload is not there")] == []
