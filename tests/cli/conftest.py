"""The command line, run in this process against a data directory of its own."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli.app import main
from tests.storage import migrated


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(fresh: Run, tmp_path: Path) -> Run:
    """``run("machine", "list")``: exit code and what was printed. The inventory is empty."""
    migrated.copy_to(tmp_path / "data" / "provisioner.db")
    return fresh


@pytest.fixture
def fresh(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same where nothing ever ran: the first command makes the data directory."""
    monkeypatch.setenv("PROVISIONER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def ran(*words: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return ran


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder laid out like a Flatcar release; nothing here boots it."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "version.txt").write_text("FLATCAR_VERSION=1.2.3\n")
    for name in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2"):
        (folder / f"flatcar_production_{name}").write_bytes(name.encode() * 100)
    return folder
