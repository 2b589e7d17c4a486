"""The README's way to a real wire, typed as it stands there: BMC, harvest, addresses, serve, install."""

import os
import re
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.domain.mac import Mac
from provisioner.lab.virtual_bmc import Nameplate, VirtualBmc
from tests.bmc.conftest import chassis
from tests.images.publisher import flatcar
from tests.netns import sh, wire

ROOT = Path(__file__).parents[2]
PLATE = Nameplate("ACME", "Server 9", "SN-0042", UUID(int=42), Mac.parse("52:54:00:aa:bb:01"))


def block() -> str:
    (found,) = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_real_wire_as_it_is_written(tmp_path: Path) -> None:
    typed = block()
    flatcar(tmp_path / "3510.2.8", "3510.2.8")
    (tmp_path / "password").write_text("correct-horse\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    state, program = chassis(tmp_path)
    with wire("10.12.1.2/24") as on:
        # The bridge is the host's eth1; the machine's BMC is on a network of its own.
        sh("ip", "-n", on.server, "link", "set", "br0", "down")
        sh("ip", "-n", on.server, "link", "set", "br0", "name", "eth1")
        sh("ip", "-n", on.server, "link", "set", "eth1", "up")
        there = on.plug("bmc", "52:54:00:aa:bb:17", "10.12.200.17/24", bridge="eth1")
        sh("ip", "-n", on.server, "route", "add", "10.12.200.0/24", "dev", "eth1")
        sh("ip", "-n", there, "route", "add", "10.12.1.0/24", "dev", "eth0")
        bmc = VirtualBmc(
            PLATE, IPv4Address("10.12.200.17"), namespace=there, directory=tmp_path / "bmc", user="admin",
            password="correct-horse", chassis=program,
        )  # fmt: skip
        bmc.start()
        try:
            bmc.wait(time.monotonic() + 20)
            done = subprocess.run(
                [*on.exec(on.server), "bash", "-ec", f"trap 'kill %1; wait' EXIT\n{typed}"],
                cwd=tmp_path, env={**os.environ, "PROVISIONER_DATA_DIR": str(tmp_path / "data")},
                capture_output=True, text=True, timeout=240, check=False,
            )  # fmt: skip
        finally:
            bmc.stop()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    # The last command shows the story of the machine that the BMC told of, which is on now, network first.
    assert "armed for role simple" in done.stdout
    assert "set power 1" in state.with_suffix(".calls").read_text().splitlines()
    assert '"boot": "pxe"' in state.read_text()
