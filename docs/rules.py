"""Lists the rules of a protocol with the tests that prove them: ``python docs/rules.py tftp > docs/tftp.md``.

The sentences stand in ``docs/rules.toml``, the tests are found by their mark ``@pytest.mark.rule("tftp-01")``.
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def proofs(tests: Path) -> dict[str, list[str]]:
    """By rule, the tests that carry its mark, as ``tests/x/test_y.py::test_z``."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for rule in _rules(node):
                    found[rule].append(f"{path.relative_to(tests.parent).as_posix()}::{node.name}")
    return found


def page(kind: str, titles: dict[str, str], sentences: dict[str, str], found: dict[str, list[str]]) -> str:
    """The document. Raises SystemExit for a rule without a test."""
    rules = {rule: text for rule, text in sentences.items() if rule.startswith(f"{kind}-")}
    bare = [rule for rule in rules if not found.get(rule)]
    if bare:
        raise SystemExit(f"no test proves {', '.join(bare)}")
    lines = [
        f"# {titles[kind]}",
        "",
        f"Made by `python docs/rules.py {kind}`; edit `docs/rules.toml` and the tests.",
        "",
    ]
    for rule, text in rules.items():
        lines += [f"## {rule}", "", text, ""]
        lines += [f"- `{test}`" for test in sorted(found[rule])]
        lines.append("")
    return "\n".join(lines)


def write(kind: str) -> str:
    """The document as it should be now."""
    content = tomllib.loads((ROOT / "docs" / "rules.toml").read_text())
    return page(kind, content["titles"], content["rules"], proofs(ROOT / "tests"))


def _rules(function: ast.FunctionDef) -> Iterator[str]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "rule":
            yield from (str(each.value) for each in mark.args if isinstance(each, ast.Constant))


if __name__ == "__main__":
    sys.stdout.write(write(sys.argv[1]))
