"""The wheel: a package index's way in, complete without the tree around it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.chroot import TREE


@pytest.mark.system
def test_a_wheel_carries_what_a_tree_has_beside_the_package(tmp_path: Path) -> None:
    built = [
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(TREE),
    ]
    subprocess.run([sys.executable, "-m", *built], check=True, timeout=120, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    env = {
        "PYTHONPATH": str(tmp_path / "installed"),
        "PROVISIONER_DATA_DIR": str(tmp_path / "data"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "installed"], check=True, timeout=60)

    def run(*words: str) -> str:
        # -S -P: this tree's editable install must not help.
        code = f"import site, sys; sys.path += {[p for p in sys.path if p.endswith('site-packages')]!r}"
        argv = [sys.executable, "-S", "-c", f"{code}; from provisioner.cli.app import main; main({list(words)!r})"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env=env, cwd=tmp_path)
        return done.stdout

    assert "database at revision" in run("db", "upgrade")
    assert "simple" in run("role", "list")
    assert (tmp_path / "installed/provisioner/_netboot_assets/loaders/build.sh").is_file()
    assert list((tmp_path / "installed/provisioner/web/static/vendor").glob("htmx*.js"))
