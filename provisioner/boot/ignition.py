"""Ignition configs: read, checked whole, and made from a subset of Butane.

The subset is Butane without its sugar: everything that Ignition 3.3.0 knows, in Butane's spelling, with
``inline`` contents. What needs files beside the config (``local``, ``trees``) or makes units and partitions by
itself (``with_mount_unit``, ``boot_device``) is refused by name, so that what a machine gets is what was written.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from provisioner.boot import unitfile
from provisioner.boot.document import (
    Document,
    InvalidDocument,
    Path,
    Problem,
    check,
    inner,
    read,
    spelled,
    unknown_key,
)
from provisioner.boot.ignition_schema import NODES, UNIQUE, VERSION, Head, Ignition, Resource

VARIANTS = {"flatcar": "1.0.0", "fcos": "1.4.0"}
"""The versions of Butane's variants that make Ignition 3.3.0."""
_REMEMBERED = 512
"""Texts of some 20 kB; comparing and arming look at the same ones again and again."""
_BEYOND = frozenset(
    ("local", "trees", "with_mount_unit", "boot_device", "contents_local", "ssh_authorized_keys_local", "grub")
)


def problems(text: str, file: str) -> list[Problem]:
    """The faults of an Ignition config, as JSON text."""
    try:
        json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        return [Problem(file, line, "", f"not JSON: {getattr(error, 'msg', error)}")]
    try:
        document = read(text, file)
    except InvalidDocument as error:
        return list(error.problems)
    return _checked(document)


@lru_cache(maxsize=_REMEMBERED)
def transpiled(text: str, file: str) -> str:
    """Butane to Ignition, as JSON text. Raises InvalidDocument with every fault, named as Butane spells it."""
    # Butane's own reader takes 0644 for octal, as YAML 1.1 does.
    document = read(text, file, version=(1, 1))
    data = dict(document.data)
    variant, version = data.pop("variant", None), data.pop("version", None)
    faults = list(_variant(document, variant, version))
    if variant == "flatcar" and "kernel_arguments" in data:
        faults.append(document.problem(("kernel_arguments",), "Flatcar takes none from Ignition; leave it out"))
    head = data.get("ignition")
    if isinstance(head, dict) and "version" in head:
        faults.append(document.problem(("ignition", "version"), "is Ignition's own; Butane's stands at the top"))
    made = _converted(data, Ignition, (), document, faults)
    if faults:
        raise InvalidDocument(faults)
    made["ignition"] = {"version": VERSION, **made.get("ignition", {})}
    if faults := _checked(replace(document, data=made)):
        raise InvalidDocument([replace(fault, key=_as_butane(fault.key)) for fault in faults])
    return json.dumps(made, indent=2) + "\n"


def _variant(document: Document, variant: object, version: object) -> Iterator[Problem]:
    if not isinstance(variant, str) or variant not in VARIANTS:
        shown = "is missing" if variant is None else f"{variant!r} is not transpiled here"
        yield document.problem(("variant",), f"{shown}; write one of {', '.join(VARIANTS)}")
    elif version != VARIANTS[variant]:
        shown = "is missing" if version is None else f"{version!r} is not transpiled here"
        yield document.problem(("version",), f"{shown}; variant {variant} is written for {VARIANTS[variant]}")


def _converted(value: Any, annotation: Any, path: Path, document: Document, faults: list[Problem]) -> Any:
    """``value`` with Ignition's keys and contents; what the subset lacks goes to ``faults``."""
    model = inner(annotation)
    if isinstance(value, list):
        element = inner(annotation, of_list=True)
        return [_converted(item, element, (*path, i), document, faults) for i, item in enumerate(value)]
    if not (isinstance(value, dict) and isinstance(model, type) and issubclass(model, BaseModel)):
        return value
    made: dict[str, Any] = {}
    for key, item in value.items():
        here = (*path, key)
        field = model.model_fields.get(key)
        if model is Resource and key == "inline":
            if "source" in value:
                faults.append(document.problem(here, "stands beside source; keep one"))
            elif not isinstance(item, str):
                faults.append(document.problem(here, "must be text; put quotes around it"))
            else:
                # Not base64: what is filled in when a file is served must stay readable; @ is a URL's own.
                made["source"] = "data:," + quote(item, safe="@/:-_.~")
        elif field is not None and not (model is Head and key == "version"):
            made[field.alias or key] = _converted(item, field.annotation, here, document, faults)
        elif key in _BEYOND:
            faults.append(document.problem(here, "is outside the subset of Butane that is transpiled here"))
        elif field is None:
            faults.append(
                unknown_key(document, here, [*model.model_fields, *(["inline"] if model is Resource else [])])
            )
    return made


def _checked(document: Document) -> list[Problem]:
    model, faults = check(Ignition, document)
    found = [*faults, *_repeated(document)]
    if model is not None:
        found += _units(model, document)
    return sorted(found, key=lambda problem: problem.line or 0)


def _repeated(document: Document) -> Iterator[Problem]:
    """Entries of which Ignition would refuse the second."""
    for path, key in UNIQUE:
        yield from _twice(document, (path,), key)
    yield from _twice(document, NODES, "path")


def _twice(document: Document, paths: tuple[tuple[str, ...], ...], key: str) -> Iterator[Problem]:
    seen: dict[str, Path] = {}
    for path in paths:
        entries: Any = document.data
        for part in path:
            entries = entries.get(part) if isinstance(entries, dict) else None
        for position, entry in enumerate(entries if isinstance(entries, list) else ()):
            value = entry.get(key) if isinstance(entry, dict) else None
            if not isinstance(value, str):
                continue
            here: Path = (*path, position)
            if value in seen:
                yield document.problem((*here, key), f"{value!r} is already in {spelled(seen[value])}; keep one")
            seen.setdefault(value, here)


def _units(config: Ignition, document: Document) -> Iterator[Problem]:
    for position, unit in enumerate((config.systemd and config.systemd.units) or ()):
        here: Path = ("systemd", "units", position)
        yield from _unit_text(unit.contents or "", (*here, "contents"), document)
        if unit.enabled and unit.contents and "Install" not in unitfile.sections(unit.contents):
            yield document.problem((*here, "enabled"), "has no effect on a unit without an [Install] section")
        for number, dropin in enumerate(unit.dropins or ()):
            yield from _unit_text(dropin.contents or "", (*here, "dropins", number, "contents"), document)


def _unit_text(text: str, path: Path, document: Document) -> Iterator[Problem]:
    for line, key, fault in unitfile.faults(text):
        yield document.problem(path, f"line {line} of the unit: {key + ' ' if key else ''}{fault}")


def _as_butane(key: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z]+)", lambda found: "_" + found[1].lower(), key)
