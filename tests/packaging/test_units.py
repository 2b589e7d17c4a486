"""The systemd units: sound, confined, and as docs/packaging.md says they are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.chroot import TREE

UNITS = TREE / ".setup" / "debian" / "systemd"
SERVICES = ("packets", "web", "images", "bmc", "database")

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system with our units and those of this machine that they lean on."""
    made = tmp_path_factory.mktemp("units")
    shutil.copytree("/lib/systemd/system", made / "lib/systemd/system", symlinks=True)
    shutil.copytree(UNITS, made / "lib/systemd/system", dirs_exist_ok=True)
    python = made / "usr/lib/provisioner/bin/python3"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return made


def analysed(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", f"--root={root}", *argv], capture_output=True, text=True, timeout=60, check=False
    )


def exposure(root: Path, service: str) -> float:
    """From 0 (confined) to 10, by ``systemd-analyze security``."""
    done = analysed(root, "security", "--offline=yes", "--no-pager", f"provisioner-{service}.service")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    return float(found[1])


@needs_systemd
def test_the_units_load_without_a_complaint(root: Path) -> None:
    done = analysed(root, "verify", "provisioner.target", *(f"provisioner-{name}.service" for name in SERVICES))
    assert [line for line in done.stderr.splitlines() if "provisioner" in line] == []


@needs_systemd
@pytest.mark.rule("threat-12")
def test_the_figures_in_the_docs_are_those_of_the_units(root: Path) -> None:
    told = dict(re.findall(r"^\| `provisioner-(\w+)\.service` \|.*\| ([\d.]+) \|$", _packaging(), re.MULTILINE))
    assert {name: float(figure) for name, figure in told.items()} == {
        name: exposure(root, name) for name in SERVICES
    }


@pytest.mark.rule("threat-12")
def test_only_packets_has_capabilities_and_only_its_two() -> None:
    granted = {}
    for name in SERVICES:
        text = (UNITS / f"provisioner-{name}.service").read_text()
        granted[name] = re.findall(r"^(?:CapabilityBoundingSet|AmbientCapabilities)=(.*)$", text, re.MULTILINE)
    two = "CAP_NET_BIND_SERVICE CAP_NET_RAW"
    assert granted == {"packets": [two, two]} | {name: [""] for name in SERVICES if name != "packets"}


def _packaging() -> str:
    return (TREE / "docs" / "packaging.md").read_text()
