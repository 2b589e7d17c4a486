"""Shell scripts, judged by ``bash -n``; one that differs from a sound one only in its values is sound as well.

bash takes 6 ms to start and read an install.sh, more than all else that arming costs. What tells two machines'
scripts apart are words like ``node17`` or ``10.12.1.17/24``. A word of letters, digits and ``. _ : / @ % ,`` that
holds a digit is no reserved word, operator or option, whichever it is, so the grammar of bash (Shell Grammar in
bash(1)) reads any such word as any other: the script's *shape* is its text with a stand-in for each. Left as they
are: words that more than their spelling depends on (before ``=``, ``[``, ``(`` or ``+``, after ``$``, ``{``, ``-``
or ``<``). The first script of a shape is judged by bash itself; one with faults always is, for its lines.
"""

import re
import subprocess
from functools import lru_cache

from provisioner.boot.document import Problem

_SECONDS = 10
_REMEMBERED = 256
"""Shapes of some 20 kB."""
_LINES = 4096
_PLACE = re.compile(r"^[^:]*: line ([0-9]+): (.*)$")
_WORD = re.compile(r"(?<![A-Za-z0-9._:/@%,${<-])[A-Za-z._:/@%,]*+[0-9][A-Za-z0-9._:/@%,]*+(?![-=\[(+])")
_NUMBERED_HEREDOC = re.compile(r"<<-?\s*[\"'\\]?[\w.:/@%,]*[0-9]")
"""Its end is found by its spelling."""


def faults(text: str, file: str) -> list[Problem]:
    """What bash refuses in it, by line; an appliance without bash checks nothing here."""
    if (alike := shape(text)) is not None and _sound(alike):
        return []
    return _judged(text, file)


def shape(text: str) -> str | None:
    """What all scripts share that differ in values only; None: this one is like no other."""
    return None if _NUMBERED_HEREDOC.search(text) else "\n".join(map(_stood_in, text.split("\n")))


@lru_cache(maxsize=_LINES)
def _stood_in(line: str) -> str:
    """No word goes on in the next line, and most lines of two machines' scripts are the same."""
    return _WORD.sub("w0", line)


@lru_cache(maxsize=_REMEMBERED)
def _sound(alike: str) -> bool:
    return not _judged(alike, "")


def _judged(text: str, file: str) -> list[Problem]:
    try:
        result = subprocess.run(
            ["bash", "-n"], input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        return []
    if result.returncode == 0:
        return []
    problems = [
        Problem(file, int(found[1]), "", found[2])
        for line in result.stderr.splitlines()
        if (found := _PLACE.match(line))
    ]
    return problems or [Problem(file, None, "", result.stderr.strip() or "bash -n refuses it")]
