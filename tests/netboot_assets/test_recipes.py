"""The recipes themselves: scripts that lint, and what they leave behind when they have been run."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[2] / "netboot_assets"
LOADERS = ASSETS / "build/loaders"
IMAGE = ASSETS / "build/images/flatcar/lab"


def is_shell_script(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:30].startswith((b"#!/bin/bash", b"#!/bin/busybox sh"))


SCRIPTS = sorted(
    path for folder in ("loaders", "lab-image") for path in (ASSETS / folder).rglob("*") if is_shell_script(path)
)


def test_there_are_scripts() -> None:
    names = {path.name for path in SCRIPTS}
    assert {"build.sh", "flatcar-install", "lab-autologin", "init"} <= names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ASSETS)))
def test_shellcheck(script: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    dialect = "bash" if script.read_bytes().startswith(b"#!/bin/bash") else "busybox"
    # shellcheck 0.9 has no busybox dialect; dash is the nearest that it knows.
    command = ["shellcheck", "--shell", {"bash": "bash", "busybox": "dash"}[dialect], script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_recipe_names_a_host() -> None:
    """Mirrors and registries are the machine's own configuration."""
    for path in (path for folder in ("loaders", "lab-image") for path in (ASSETS / folder).rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            text = path.read_text()
            assert "://" not in text.replace("http://...", ""), path


def test_loader_manifest_describes_what_is_there() -> None:
    manifest = LOADERS / "manifest.json"
    if not manifest.exists():
        pytest.skip("the loaders are not built (netboot_assets/loaders/build.sh)")
    told = json.loads(manifest.read_text())
    entries = told["files"]
    optional = {
        "shimx64.efi": "uefi-x64",
        "grubx64.efi": "uefi-x64",
        "bootnetaa64.efi": "uefi-arm64",
        "grubaa64.efi": "uefi-arm64",
    }
    there = {entry["name"]: entry["firmware"] for entry in entries}
    for missing in told["not_available"]:
        assert missing["name"] not in there
        assert missing["remedy"].startswith("apt install ")
    assert {"shimx64.efi", "bootnetaa64.efi"} <= there.keys() | {one["name"] for one in told["not_available"]}
    assert all(there.pop(name, firmware) == firmware for name, firmware in optional.items())
    assert there == {
        "undionly.kpxe": "bios",
        "ipxe.pxe": "bios",
        "ipxe.lkrn": "bios",
        "pxelinux.0": "bios",
        "ldlinux.c32": "bios",
        "snponly.efi": "uefi-x64",
        "ipxe.efi": "uefi-x64",
        "localboot-x64.efi": "uefi-x64",
    }
    for entry in entries:
        data = (LOADERS / entry["name"]).read_bytes()
        assert (entry["size"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry["package"]
        assert entry["version"]


@pytest.mark.parametrize(
    "name",
    [
        "flatcar_production_pxe.vmlinuz",
        "flatcar_production_pxe_image.cpio.gz",
        "flatcar_production_image.bin.bz2",
    ],
)
def test_image_digests_are_true(name: str) -> None:
    if not (IMAGE / name).exists():
        pytest.skip("the lab image is not built (netboot_assets/lab-image/build.sh)")
    lines = (IMAGE / f"{name}.DIGESTS").read_text().splitlines()
    data = (IMAGE / name).read_bytes()
    assert lines == [
        "# SHA256 HASH",
        f"{hashlib.sha256(data).hexdigest()}  {name}",
        "# SHA512 HASH",
        f"{hashlib.sha512(data).hexdigest()}  {name}",
    ]
