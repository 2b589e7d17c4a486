"""``provisioner doctor``: what stands in the way of an installation, and what to do about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.doctor.findings import Finding, Level, exit_code, worst_first

EXAMPLE = "Example: `provisioner doctor --interface eth1`"
_MARKS = {Level.OK: "ok", Level.WARNING: "warning", Level.PROBLEM: "PROBLEM", Level.UNSEEN: "unseen"}


def doctor(
    interface: Annotated[str | None, typer.Option(help="Look at this wire; overrides the settings file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at interfaces, ports, firewall, images, roles, clock, disk and database, ask who else answers DHCP,
    and fetch what machines fetch. Changes nothing. Exit code 1 if there is a problem."""
    from provisioner.examination import examine  # noqa: PLC0415 - slow to import, and only needed here

    findings = worst_first(examine(session.settings(interface=interface)))
    if json:
        session.show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            session.say(f"{_MARKS[finding.level]:8} {finding.check:11} {finding.says}")
            if finding.remedy:
                session.say(f"{'':20} → {finding.remedy}")
        session.say(f"\n{_sum(findings)}")
    raise typer.Exit(exit_code(findings))


def _sum(findings: Sequence[Finding]) -> str:
    """``1 problem, 2 warnings``; ``no problem`` is what people wait for."""
    counts = Counter(finding.level for finding in findings)
    problems, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    told = [f"{problems or 'no'} problem{'s' if problems > 1 else ''}"]
    if warnings:
        told.append(f"{warnings} warning{'s' if warnings > 1 else ''}")
    return ", ".join(told)
