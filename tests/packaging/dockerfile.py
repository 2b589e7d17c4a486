"""A Dockerfile's instructions, by stage (continuation lines, comments, heredoc-free)."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """From one FROM to the next. ``steps``: (instruction, arguments) in order."""

    base: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]

    def argv(self, instruction: str) -> list[str]:
        """Of the last one, which is in the exec form."""
        return list(map(str, json.loads(self.all(instruction)[-1])))


def stages(file: Path) -> list[Stage]:
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        instruction, _, arguments = " ".join(line.split()).partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].steps.append((instruction, arguments))
    return found
