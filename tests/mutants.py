"""`make mutants`: how many small changes of the code the tests notice, and those that they don't.

Runs mutmut (configured in pyproject.toml) over the modules named there. Prints a line a module and every survivor
with its change; exit code 1 if a module is below the floor. `python -m tests.mutants [MODULE...]` looks at some
only, as in `provisioner.dhcp.respond`.
"""

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

FLOOR = 0.85
NOTICED = ("killed", "timeout", "segfault", "caught by type check")
"""A change that makes a test hang is noticed, too."""
_MUTMUT = [str(Path(sys.executable).parent / "mutmut")]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(wanted: list[str]) -> int:
    modules = wanted or [
        path.removesuffix(".py").replace("/", ".")
        for path in tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]
    ]
    subprocess.run([*_MUTMUT, "run", "--max-children", "2", *(f"{module}.*" for module in modules)], check=True)
    said = subprocess.run([*_MUTMUT, "results", "--all", "true"], capture_output=True, text=True, check=True).stdout
    fates = dict(re.findall(r"^ *(\S+): (.+?) *$", said, re.MULTILINE))
    failed = False
    for module in modules:
        here = {name: fate for name, fate in fates.items() if name.startswith(f"{module}.")}
        counted = Counter(here.values())
        noticed = sum(counted[fate] for fate in NOTICED)
        share = noticed / len(here) if here else 0.0
        failed |= share < FLOOR
        say(f"\n{module}: {noticed} of {len(here)} noticed, {share:.1%} ({dict(counted)})")
        for name in sorted(name for name, fate in here.items() if fate not in NOTICED):
            shown = subprocess.run([*_MUTMUT, "show", name], capture_output=True, text=True, check=True).stdout
            say(f"  {name}")
            say("\n".join(f"    {line}" for line in shown.splitlines() if re.match(r"[-+] ", line)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
