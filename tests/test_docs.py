"""The docs are current, lead somewhere, and their commands are commands that there are."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from provisioner.cli.app import whole
from tests.cli.conftest import Run, fresh, release

__all__ = ["fresh", "release"]  # fixtures of the command line

TREE = Path(__file__).parent.parent
WRITTEN = sorted(file for file in [*(TREE / "docs").glob("*.md"), TREE / "README.md"] if file.name != "cli.md")


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", TREE / "docs" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_references_are_current_and_links_lead_somewhere(
    build: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    code = build.main(["--check"])
    assert (code, capsys.readouterr().err) == (0, "")


def test_a_broken_link_a_missing_heading_and_a_lost_document_are_found(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A\n\n[b](docs/b.md#here) [c](docs/c.md)\n")
    (tmp_path / "docs" / "b.md").write_text("# B\n\n```\n[not](a-link.md)\n```\n[out](https://example.net)\n")
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n")
    assert build.faults(tmp_path) == [
        "README.md:3: b.md has no heading #here",
        "README.md:3: docs/c.md is not there",
        "docs/b.md:6: https://example.net cannot be followed on a rack without internet",
        "docs/lost.md: no link leads here",
    ]


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_its_commands_exist(file: Path) -> None:
    for line in re.findall(r"(?:^|`|\s)provisioner ([a-z][^`\n#|]*)", file.read_text()):
        command = whole()
        for word in line.split():
            choices = getattr(command, "commands", None)
            if choices is None:
                options = {name for parameter in command.params for name in parameter.opts}
                given = set(re.findall(r"(?<!\S)--[a-z-]+", line)) - {"--config", "--help"}
                assert given <= options, f"{file.name}: provisioner {line}"
                break
            if not re.fullmatch(r"[a-z]+", word):
                break
            assert word in choices, f"{file.name}: provisioner {line}"
            command = choices[word]


def test_the_quick_start_works_as_it_is_written(fresh: Run, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(release.parent)
    text = (TREE / "docs" / "quickstart.md").read_text()
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    typed = [line.split()[1:] for block in blocks for line in block.splitlines() if line.strip()]
    assert len(typed) == 6
    for words in typed:
        done = fresh(*words)
        assert done.code == 0, f"provisioner {' '.join(words)}: {done.err}"
