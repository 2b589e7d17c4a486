"""``provisioner doctor``: what stands in the way of an installation, and what to do about it."""

from dataclasses import asdict
from typing import Annotated

import typer

from provisioner.cli import session
from provisioner.doctor.findings import Level, exit_code, worst_first

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
        count = sum(finding.level is Level.PROBLEM for finding in findings)
        session.say(f"\n{count} problem{'' if count == 1 else 's'}" if count else "\nno problem")
    raise typer.Exit(exit_code(findings))
