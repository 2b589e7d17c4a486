"""One command's view of the appliance: settings, the house, who asks, and how answers are printed."""

import getpass
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from provisioner import settings as configuration
from provisioner.cli import config_file
from provisioner.domain.errors import Refused
from provisioner.settings import Settings
from provisioner.wiring import House


def settings(**overrides: Any) -> Settings:
    return configuration.load(config_file.named(), **overrides)


def house() -> House:
    """The appliance's inventory and parts, migrated if it is fresh."""
    return House.open(settings())


def actor() -> str:
    """Who asks, for the timeline and the audit."""
    return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"


def now() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


def moment(at: int | None) -> str:
    """UTC microseconds as people and programs read them (RFC 3339); None: empty."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


def read(file: str) -> tuple[str, str]:
    """A file's text ('-' is stdin), and the name that tells its format. Raises Refused."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Refused(f"file {file!r} cannot be read ({error.strerror})", "check the path") from error
    if data.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise Refused(f"file {file!r} is a spreadsheet program's own format", "save it as CSV in UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Refused(f"file {file!r} is not UTF-8 text", "save it in UTF-8 (spreadsheets: as CSV in UTF-8)")
    return text.replace("\r\n", "\n").replace("\r", "\n"), file


def password(asked: str, *, stdin: bool, file: Path | None = None, new: bool = False) -> str:
    """A password that stands on no command line: from a file's first line, a prompt, or where nobody types, stdin.

    ``asked``: whose it is; ``new``: a slip would lock them out, so a prompt asks twice. Raises Refused.
    """
    if file is not None:
        text, _ = read(str(file))
    elif stdin or not sys.stdin.isatty():
        text = sys.stdin.readline()
    else:
        typed = getpass.getpass(f"Password of {asked}: ")
        if new and getpass.getpass("Once more: ") != typed:
            raise Refused(f"the two passwords of {asked} differ", "type it anew")
        return typed
    if not text:
        ways = "give it on standard input" + ("" if new else ", or --password-file FILE")
        raise Refused(f"the password of {asked} is missing", ways)
    return text.splitlines()[0]


def say(text: str) -> None:
    print(text)


def warn(text: str) -> None:
    print(text, file=sys.stderr)


def show_json(data: Any) -> None:
    print(json.dumps(data, indent=2, default=str, ensure_ascii=False))


_SENTENCE = 24
"""Columns of a terminal that a sentence is readable in; a table that needs more than the terminal is wider."""


def show_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], empty: str) -> None:
    """A table; ``empty`` teaches the next step when there is nothing to show."""
    rows = list(rows)
    if not rows:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    least = 0
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    for column, below in zip(columns, zip(*cells, strict=True), strict=True):
        head = column.replace("_", " ").upper()
        # Sentences wrap. A MAC, an address, a name never does: it is copied, and searched for.
        whole = not any(" " in cell for cell in below)
        table.add_column(head, no_wrap=whole, overflow="fold")
        longest = max(map(len, (head, *below)))
        least += 2 + (longest if whole else min(longest, _SENTENCE))
    for row in cells:
        table.add_row(*row)
    # Piped output must not be cut at 80 columns.
    there = shutil.get_terminal_size().columns if sys.stdout.isatty() else 240
    # With a height, too: without one rich takes every dumb terminal for 80 columns wide.
    Console(highlight=False, markup=False, width=max(there, least), height=25).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ";".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return str(value)
