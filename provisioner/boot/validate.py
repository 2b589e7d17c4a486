"""What was rendered, checked before anything is stored: cloud-configs, shell scripts, network files."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from provisioner.boot import ignition, installers, shell, unitfile
from provisioner.boot.cloudconfig_schema import CloudConfig
from provisioner.boot.document import Document, InvalidDocument, Path, Problem, check, read, spelled

_REMEMBERED = 512
"""Texts of some 20 kB."""


def part(name: str, text: str) -> list[Problem]:
    """The faults of one compiled part: by its name, else by its suffix; other files need only be there."""
    return list(_faults(name, text))


@lru_cache(maxsize=_REMEMBERED)
def _faults(name: str, text: str) -> tuple[Problem, ...]:
    """Judged once: simulating, comparing and arming look at the same bytes again and again."""
    if not text.strip():
        return (Problem(name, None, "", "is empty"),)
    judge = _BY_NAME.get(name)
    if judge is None:
        _, dot, suffix = name.rpartition(".")
        judge = _BY_SUFFIX.get(suffix) if dot else None
    return tuple(judge(text, name)) if judge else ()


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


def network(text: str, file: str) -> list[Problem]:
    """A systemd.network file: sections of ``Key=Value`` lines, with a [Match] that names something."""
    problems = [Problem(file, line, key, fault) for line, key, fault in unitfile.faults(text)]
    if not unitfile.sections(text).get("Match"):
        problems.append(
            Problem(file, None, "[Match]", "is missing or empty; the file would apply to every interface")
        )
    return problems


def unit(text: str, file: str) -> list[Problem]:
    """A unit of systemd: sections of ``Key=Value`` lines."""
    return [Problem(file, line, key, fault) for line, key, fault in unitfile.faults(text)]


def _yaml(text: str, file: str) -> list[Problem]:
    """A cloud-config if its first line says so, else any mapping."""
    if text.startswith("#cloud-config"):
        return cloud_config(text, file)
    try:
        read(text, file)
    except InvalidDocument as error:
        return list(error.problems)
    return []


def _json(text: str, file: str) -> list[Problem]:
    try:
        json.loads(text)
    except ValueError as error:
        return [Problem(file, getattr(error, "lineno", None), "", f"not JSON: {getattr(error, 'msg', error)}")]
    return []


_Judge = Callable[[str, str], list[Problem]]
_BY_NAME: Mapping[str, _Judge] = {
    "pxe.yml": cloud_config,
    "config.yml": cloud_config,
    "ignition.json": ignition.problems,
    "network": network,
    "preseed.cfg": installers.preseed,
    "user-data": installers.user_data,
    "meta-data": installers.meta_data,
    "talos.yaml": installers.talos,
}
_BY_SUFFIX: Mapping[str, _Judge] = {
    "sh": shell.faults,
    "ign": ignition.problems,
    "json": _json,
    "yml": _yaml,
    "yaml": _yaml,
    "network": network,
    **dict.fromkeys(("service", "timer", "socket", "mount", "path", "target"), unit),
}
