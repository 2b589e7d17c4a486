"""A served folder, and a server of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tftp.serving import Serving, serving


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A served folder with everything that must not be served around it."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "tftp"
    (root / "grub").mkdir(parents=True)
    (root / "snponly.efi").write_bytes(os.urandom(174_000))
    (root / "grub" / "grub.cfg").write_text("menu")
    (root / "empty").touch()
    (root / "link").symlink_to("grub/grub.cfg")
    (root / "out").symlink_to("../secret")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "folder-out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def running(tree: Path) -> Iterator[Serving]:
    with serving(tree) as made:
        yield made
