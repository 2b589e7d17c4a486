"""install.sh of roles in Ignition, run for real on the workbench: which installer, with what, and what is left."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from provisioner.boot.roles import RoleFolder
from provisioner.boot.trial import try_role
from provisioner.domain.errors import NotFound
from tests.boot.rack import SHIPPED
from tests.cloud_configs.bench import TOKEN, Bench

pytestmark = pytest.mark.system
MAC = "02:00:00:00:00:01"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "bench"
    folder.mkdir()
    with Bench(folder) as made:
        yield made


def compiled(role: str) -> Mapping[str, bytes]:
    def none(image: str, version: str | None) -> object:
        raise NotFound("image", image)

    return try_role(RoleFolder(SHIPPED), role, none)[0].files  # type: ignore[arg-type]


def run(bench: Bench, files: Mapping[str, bytes], role_min: bytes) -> str:
    bench.files = {f"/b/{TOKEN}/{name}": data for name, data in files.items()}
    # The bench's disks are small.
    script = files["install.sh"].replace(b"disk_min_bytes=" + role_min, b"disk_min_bytes=16777216")
    done = bench.run(script)
    assert done.returncode == 0, done.stdout
    assert bench.reports[-1] == (f"/b/{TOKEN}/complete", {})
    return done.stdout


def test_flatcar_is_given_its_ignition(bench: Bench) -> None:
    disk = bench.disk()
    files = compiled("simple-ignition")
    bench.program(
        "flatcar-install",
        (bench.bin / "flatcar-install").read_text().replace("V:c:", "V:i:").replace('"$c"', '"$i"'),
    )
    run(bench, files, b"1073741824")
    (installer,) = [call for call in bench.calls() if call.startswith("flatcar-install")]
    assert f"-d {disk} " in installer
    assert " -c " not in installer
    assert (bench.folder / "config-given").read_bytes() == files["ignition.json"]
    assert (bench.root / "etc/hostname").read_text() == "example1\n"


def test_fedora_coreos_is_written_by_its_installer_and_reported(bench: Bench) -> None:
    """coreos-installer's own automation would skip the check of the disk and tell nobody."""
    disk = bench.disk()
    files = compiled("fedora-coreos")
    bench.program("lsblk", (bench.bin / "lsblk").read_text().replace("/ ROOT/", "/ boot/"))
    installer = """#!/bin/bash
echo "coreos-installer $*" >>"$BENCH/calls"
cp "${@: -5:1}" "$BENCH/config-given"
echo "$2"p3 part >"$BENCH/partitions"
"""
    bench.program("coreos-installer", installer)
    run(bench, files, b"10737418240")
    (call,) = [call for call in bench.calls() if call.startswith("coreos-installer")]
    config = bench.work / "config"
    assert call == (
        f"coreos-installer install {disk} --offline --ignition-file {config} "
        "--append-karg console=tty0 --append-karg console=ttyS0,115200"
    )
    assert (bench.folder / "config-given").read_bytes() == files["ignition.json"]
    assert bench.phases() == ["clock", "disk", "image", "payload", "written", "reboot"]
    # How its next install knows the disk as its own; the root belongs to ostree and is left alone.
    assert (bench.root / "provisioner/machine").read_text() == f"{MAC}\n"
    assert not (bench.root / "etc").exists()
    bench.signatures("gpt\n")
    assert "this machine was installed from here before" in run(bench, files, b"10737418240")


def test_fedora_coreos_never_writes_over_foreign_data(bench: Bench) -> None:
    bench.disk()
    bench.signatures("xfs\n")
    files = compiled("fedora-coreos")
    bench.files = {f"/b/{TOKEN}/{name}": data for name, data in files.items()}
    done = bench.run(files["install.sh"].replace(b"disk_min_bytes=10737418240", b"disk_min_bytes=16777216"))
    assert done.returncode == 1
    assert "holds foreign data" in bench.only("failed")["reason"]
    assert not any(call.startswith("coreos-installer") for call in bench.calls())
