"""The inventory as a file: CSV for spreadsheets, YAML for people. Import is all or nothing."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from provisioner.actions.adoption import Nameless
from provisioner.actions.enrol import happened, stated
from provisioner.actions.intent import FIELDS, Fields, Rules, planned, rules_over
from provisioner.domain.claims import Claims, bmc_taken, shared_bmcs
from provisioner.domain.errors import Conflict, InvalidValue, Refused
from provisioner.domain.inventory import Inventory, slot_order
from provisioner.domain.machine import Machine
from provisioner.domain.ports import Store

COLUMNS = ("name", "mac", "ip", "role", "rack", "unit", "bmc", "labels")
FURTHER_COLUMNS = (
    "chassis",
    "blade",
    "cluster",
    "params",
    "options",
    "switch_port",
    "menu",
    "vendor",
    "model",
    "serial",
)

Row = tuple[int, Mapping[str, Any]]
"""Line number in the file, and the fields."""


class ImportRefused(Refused):
    """Nothing was imported. ``errors`` has (line, sentence) for every faulty row."""

    def __init__(self, errors: Sequence[tuple[int, str]]) -> None:
        self.errors = tuple(errors)
        lines = "\n".join(f"line {line}: {sentence}" for line, sentence in errors)
        wrong = "1 line is wrong" if len(errors) == 1 else f"{len(errors)} lines are wrong"
        super().__init__(f"nothing was imported, {wrong}:\n{lines}")


@dataclass(frozen=True, slots=True)
class Imported:
    """Names by what came of them."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: int


def parse(text: str, name: str = "") -> list[Row]:
    """CSV, or YAML or JSON if the file's name or its first character says so."""
    structured = name.endswith((".yaml", ".yml", ".json")) or text.lstrip()[:1] in ("[", "{")
    return parse_yaml(text) if structured else parse_csv(text)


def parse_csv(text: str) -> list[Row]:
    """Rows of a CSV file with a header line. An empty cell leaves a value as it is."""
    lines = _lines(text.removeprefix("\ufeff"))
    first, titles = next(lines, (1, []))
    header = [cell.lower() for cell in _without_empty_end(titles)]
    _check_columns(header, first)
    rows: list[Row] = []
    errors: list[tuple[int, str]] = []
    for line, all_cells in lines:
        cells = _without_empty_end(all_cells)
        if len(cells) > len(header):
            errors.append((line, f"{len(cells)} cells under {len(header)} columns; quote cells with commas"))
        elif cells:
            rows.append((line, {k: v for k, v in zip(header, cells, strict=False) if v}))
    if errors:
        raise ImportRefused(errors)
    return rows


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of its first line, from 1: a quoted cell may go over several."""
    reader = csv.reader(io.StringIO(text))
    line = 1
    try:
        for cells in reader:
            yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ImportRefused([(line, f"is not CSV ({error}); is a quote left open?")]) from error


def _without_empty_end(cells: list[str]) -> list[str]:
    """Spreadsheets write the empty columns at the right as well."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def parse_yaml(text: str) -> list[Row]:
    """A list of mappings, or a mapping with the list under ``machines``; JSON is YAML too."""
    try:
        loaded = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error).partition("\n")[0]
        raise ImportRefused([((mark.line + 1) if mark else 1, f"is not YAML: {problem}")]) from error
    items = loaded.get("machines") if isinstance(loaded, Mapping) else loaded
    if not isinstance(items, CommentedSeq):
        raise ImportRefused([(1, "expected a list of machines, each a mapping with name and mac")])
    rows: list[Row] = []
    for index, item in enumerate(items):
        line = items.lc.item(index)[0] + 1
        if not isinstance(item, Mapping):
            raise ImportRefused([(line, "is not a mapping; write `- name: …` and `mac: …`")])
        fields = {str(key): _plain(value) for key, value in item.items() if value not in (None, "")}
        _check_columns(list(fields), line)
        rows.append((line, fields))
    return rows


def import_machines(
    store: Store, rows: Sequence[Row], *, actor: str, now: int, roles: frozenset[str] | None = None
) -> Imported:
    """Add or change machines by name; one that told of itself, and that nobody has named, is found by its MAC.

    Raises ImportRefused with every faulty line; then nothing was written.
    """
    with store.transaction(actor) as tx:
        inventory = tx.inventory()
        rules = rules_over(tx, inventory, roles)
        drafts = _drafts(rows, inventory, rules, now)
        changed = [(before, after) for before, after in drafts if before != after]
        tx.bmcs.add_many(rules.bmcs.new.values())
        stored = tx.machines.put_many([after for _, after in changed], inventory.machines)
        pairs = [(before, after) for (before, _), after in zip(changed, stored, strict=True)]
        tx.events.add(*(event for before, after in pairs for event in happened(before, after, now, actor)))
    return Imported(
        added=tuple(after.name for before, after in pairs if before is None),
        changed=tuple(after.name for before, after in pairs if before is not None),
        unchanged=len(drafts) - len(pairs),
    )


def _drafts(
    rows: Sequence[Row], inventory: Inventory, rules: Rules, now: int
) -> list[tuple[Machine | None, Machine]]:
    """Each row's machine before and after. Raises ImportRefused with every faulty line."""
    errors: list[tuple[int, str]] = []
    first_lines: dict[str, int] = {}
    drafts: list[tuple[int, Machine | None, Machine]] = []
    unnamed = Nameless(inventory, rules)
    for line, stated_there in rows:
        fields: Fields = stated_there
        name = str(fields.get("name", ""))
        if name in first_lines:
            errors.append((line, f"name {name!r} is on line {first_lines[name]} already; name each machine once"))
            continue
        first_lines[name] = line
        try:
            before = inventory.find(name) if name else None
            if before is None and (found := unnamed.listed(fields)):
                before, fields = found
            elif before is not None and before.name != name:
                raise InvalidValue("name", name, "is not a host name", "use a name like node-17")
            drafts.append((line, before, planned(before, fields, now=now, rules=rules)))
        except Refused as refusal:
            errors.append((line, str(refusal)))
    claims = Claims.of(inventory)
    for _, before, after in drafts:
        if before is not None:
            claims.release(before)
        elif (place := inventory.places.get(after.slot.id)) is not None:
            claims.release(place)
    for line, _, after in drafts:
        try:
            claims.take(after)
        except Conflict as conflict:
            # A machine of this file is not stored: there is nothing to be shown.
            there = first_lines.get(conflict.holder.partition(" ")[2])
            mine = f"{conflict.field} {str(conflict.value)!r} is on line {there} already; each machine has its own"
            errors.append((line, mine if there else str(conflict)))
        except Refused as refusal:
            errors.append((line, str(refusal)))
    errors += _shared_bmcs(drafts, rows, inventory)
    if errors:
        raise ImportRefused(sorted(errors))
    return [(before, after) for _, before, after in drafts]


def _shared_bmcs(
    drafts: Sequence[tuple[int, Machine | None, Machine]], rows: Sequence[Row], inventory: Inventory
) -> list[tuple[int, str]]:
    """Lines that name a BMC which another machine has."""
    lines = {after.id: line for line, _, after in drafts}
    stated_at = {line: str(fields.get("bmc", "")) for line, fields in rows}
    held = {m.bmc_id: m.name for m in inventory.machines.values() if m.bmc_id and m.id not in lines}
    shared = shared_bmcs([(before, after) for _, before, after in drafts], held)
    return [(line := lines[machine.id], str(bmc_taken(stated_at[line], holder))) for machine, holder in shared]


def export_rows(store: Store) -> list[dict[str, Any]]:
    """Every machine as fields that import back to the same inventory, in the order of slots."""
    with store.reading() as tx:
        bmcs = {bmc.id: bmc.address for bmc in tx.bmcs.list()}
        machines = sorted(tx.machines.list(), key=slot_order)
    return [stated(m) | {"bmc": bmcs.get(m.bmc_id, "") if m.bmc_id else ""} for m in machines]


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with the named columns first; further ones only where some machine uses them."""
    further = [column for column in FURTHER_COLUMNS if any(row[column] not in ("", {}) for row in rows)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [*COLUMNS, *further]
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(column, row[column]) for column in columns])
    return out.getvalue()


def to_yaml(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as a YAML list; empty values are left out."""
    out = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump([{key: value for key, value in row.items() if value not in ("", {})} for row in rows], out)
    return out.getvalue()


def _cell(column: str, value: Any) -> str:
    if column == "labels":
        return ";".join(f"{key}={text}" for key, text in value.items())
    if column in ("params", "options"):
        return json.dumps(value, sort_keys=True) if value else ""
    return str(value)


def _check_columns(names: Sequence[str], line: int) -> None:
    unknown = [name for name in names if name not in (*FIELDS, "macs")]
    if unknown:
        known = ", ".join((*COLUMNS, *FURTHER_COLUMNS))
        separator = next((mark for mark in (";", "\t", "|") if len(names) == 1 and mark in unknown[0]), "")
        if separator:
            said = f"the columns are separated by {separator!r}, and must be by commas: save it as CSV with commas"
            raise ImportRefused([(line, said)])
        if len(unknown) == len(names):
            said = f"{unknown[0]!r} is no column, nor is anything else here; the first line names the columns"
            raise ImportRefused([(line, f"{said}, like name,mac,ip,role")])
        if not unknown[0]:
            raise ImportRefused([(line, f"column {names.index('') + 1} has no name; known columns: {known}")])
        meant = get_close_matches(unknown[0].strip().lower(), (*COLUMNS, *FURTHER_COLUMNS), 1)
        hint = f"did you mean {meant[0]}? " if meant else ""
        raise ImportRefused([(line, f"column {unknown[0]!r} is not known; {hint}known columns: {known}")])
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ImportRefused([(line, f"column {twice[0]!r} is there twice; keep one (several MACs or IPs: by ';')")])
    missing = [name for name in ("name", "mac") if name not in names and not (name == "mac" and "macs" in names)]
    if missing:
        raise ImportRefused([(line, f"column {missing[0]!r} is missing; name and mac are needed")])


def _plain(value: Any) -> Any:
    """ruamel's round-trip containers as plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
