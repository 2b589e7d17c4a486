"""What was rendered, checked before anything is stored: cloud-configs, shell scripts, network files."""

import re
import subprocess
from collections.abc import Iterator

from provisioner.boot import ignition, unitfile
from provisioner.boot.cloudconfig_schema import CloudConfig
from provisioner.boot.document import Document, InvalidDocument, Path, Problem, check, read, spelled

_SHELL_SECONDS = 10
_BASH_PLACE = re.compile(r"^[^:]*: line ([0-9]+): (.*)$")


def part(name: str, text: str) -> list[Problem]:
    """The faults of one compiled part, by its name."""
    if name.endswith(".yml"):
        return cloud_config(text, name)
    if name.endswith(".sh"):
        return shell(text, name)
    if name.endswith((".json", ".ign")):
        return ignition.problems(text, name)
    return network(text, name)


def cloud_config(text: str, file: str) -> list[Problem]:
    """A CoreOS cloud-config: shape, values, and what may be there only once."""
    if text.split("\n", 1)[0].rstrip() != "#cloud-config":
        return [
            Problem(file, 1, "", "the first line must be `#cloud-config`; without it the machine ignores the file")
        ]
    try:
        # coreos-cloudinit reads - and _ in keys as the same.
        document = read(text, file, key=lambda name: name.replace("-", "_"))
    except InvalidDocument as error:
        return list(error.problems)
    config, problems = check(CloudConfig, document)
    found = [*problems, *_repeated(document), *(_units(config, document) if config else ())]
    return sorted(found, key=lambda problem: problem.line or 0)


def _units(config: CloudConfig, document: Document) -> Iterator[Problem]:
    """Units that systemd would not read as they are meant, or that are enabled to no effect."""
    for position, unit in enumerate((config.coreos and config.coreos.units) or ()):
        here: Path = ("coreos", "units", position)
        texts: list[tuple[Path, str]] = [((*here, "content"), unit.content or "")]
        for number, dropin in enumerate(unit.drop_ins or ()):
            texts.append(((*here, "drop_ins", number, "content"), dropin.content))
        for path, text in texts:
            for line, key, fault in unitfile.faults(text):
                yield document.problem(path, f"line {line} of the unit: {key + ' ' if key else ''}{fault}")
        if unit.enable and unit.content and "Install" not in unitfile.sections(unit.content):
            yield document.problem((*here, "enable"), "has no effect on a unit without an [Install] section")


def _repeated(document: Document) -> Iterator[Problem]:
    """Entries of which the second would silently replace the first."""
    coreos = document.data.get("coreos")
    units = coreos.get("units") if isinstance(coreos, dict) else None
    places: tuple[tuple[tuple[str, ...], object, str], ...] = (
        (("users",), document.data.get("users"), "name"),
        (("write_files",), document.data.get("write_files"), "path"),
        (("coreos", "units"), units, "name"),
    )
    for path, entries, key in places:
        seen: dict[str, int] = {}
        for position, entry in enumerate(entries if isinstance(entries, list) else ()):
            value = entry.get(key) if isinstance(entry, dict) else None
            if not isinstance(value, str):
                continue
            here: Path = (*path, position, key)
            if value in seen:
                first = spelled((*path, seen[value]))
                yield document.problem(here, f"{value!r} is already in {first}; keep one")
            seen.setdefault(value, position)


def shell(text: str, file: str) -> list[Problem]:
    """``bash -n``; an appliance without bash checks nothing here."""
    try:
        result = subprocess.run(
            ["bash", "-n"], input=text, capture_output=True, text=True, timeout=_SHELL_SECONDS, check=False
        )
    except FileNotFoundError:
        return []
    if result.returncode == 0:
        return []
    problems = [
        Problem(file, int(found[1]), "", found[2])
        for line in result.stderr.splitlines()
        if (found := _BASH_PLACE.match(line))
    ]
    return problems or [Problem(file, None, "", result.stderr.strip() or "bash -n refuses it")]


def network(text: str, file: str) -> list[Problem]:
    """A systemd.network file: sections of ``Key=Value`` lines, with a [Match] that names something."""
    problems = [Problem(file, line, key, fault) for line, key, fault in unitfile.faults(text)]
    if not unitfile.sections(text).get("Match"):
        problems.append(
            Problem(file, None, "[Match]", "is missing or empty; the file would apply to every interface")
        )
    return problems
