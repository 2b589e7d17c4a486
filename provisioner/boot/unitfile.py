"""The shape of systemd's files: sections of ``Key=Value`` lines, as systemd.syntax(7) has it."""

import re
from collections.abc import Iterator

_SECTION = re.compile(r"\[[^\]\[\x00-\x1f]+\]")
_ASSIGNMENT = re.compile(r"[A-Za-z0-9_.-]+\s*=.*", re.DOTALL)


def faults(text: str) -> Iterator[tuple[int, str, str]]:
    """(line from 1, key or section, what is wrong) of each line that systemd would not read as it is meant."""
    section, lines = "", enumerate(text.splitlines(), start=1)
    for number, line in lines:
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        start = number
        while bare.endswith("\\"):
            _, more = next(lines, (0, None))
            if more is None:
                yield start, "", "ends in \\ with no line to go on with"
                return
            # Comments between continued lines are skipped by systemd.
            bare = bare[:-1] + " " + more.strip() if more.strip()[:1] not in ("#", ";") else bare
        if _SECTION.fullmatch(bare):
            section = bare[1:-1]
        elif not _ASSIGNMENT.fullmatch(bare):
            yield start, "", f"{bare[:60]!r} is neither [Section] nor Key=Value"
        elif not section:
            yield start, bare.split("=")[0].strip(), "stands before the first [Section]"


def sections(text: str) -> dict[str, list[str]]:
    """The keys that each section sets."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        bare = line.strip()
        if _SECTION.fullmatch(bare):
            section = bare[1:-1]
            found.setdefault(section, [])
        elif section and bare[:1] not in ("#", ";", "") and "=" in bare:
            found[section].append(bare.split("=")[0].strip())
    return found
