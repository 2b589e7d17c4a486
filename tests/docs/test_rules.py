"""The documents that list rules are what the tests say."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = tuple(tomllib.loads((ROOT / "docs" / "rules.toml").read_text())["titles"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_of_rules_is_current_and_every_rule_is_proven(kind: str) -> None:
    made = subprocess.run(
        [sys.executable, "docs/rules.py", kind], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout == (ROOT / "docs" / f"{kind}.md").read_text(), (
        f"python docs/rules.py {kind} > docs/{kind}.md"
    )
