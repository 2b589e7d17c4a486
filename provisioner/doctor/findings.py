"""What an examination says: one sentence each, how bad it is, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """``problem``: machines will not install. ``warning``: they may, until something else happens.

    ``unseen``: could not be looked at from here, and the remedy says how it can.
    """

    PROBLEM = "problem"
    WARNING = "warning"
    UNSEEN = "unseen"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check``: what was looked at, one word. ``remedy``: empty only when all is well."""

    check: str
    level: Level
    says: str
    remedy: str = ""


def ok(check: str, says: str) -> Finding:
    return Finding(check, Level.OK, says)


def warning(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Level.WARNING, says, remedy)


def problem(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Level.PROBLEM, says, remedy)


def unseen(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Level.UNSEEN, says, remedy)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """As a person wants to read them; findings of one level keep their order."""
    order = list(Level)
    return sorted(findings, key=lambda finding: order.index(finding.level))


def exit_code(findings: Iterable[Finding]) -> int:
    """1 if there is a problem, else 0: warnings stop no installation."""
    return int(any(finding.level is Level.PROBLEM for finding in findings))
