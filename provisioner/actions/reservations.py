"""A plan as files for other programs: CSV for people, host reservations for those who keep their own DHCP server.

Names, MACs and addresses are read values (a host label, six bytes, an IP): nothing in them can break out of a line.
A row without an address or MAC has nothing to reserve: a comment says so, where the format has comments.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields

from provisioner.domain.allocation import Assignment, Plan


def to_csv(plan: Plan) -> str:
    """All rows with all columns, conflicts included."""
    out = io.StringIO()
    columns = [field.name for field in fields(Assignment)]
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in plan.rows)
    return out.getvalue()


def to_dhcpd(plan: Plan) -> str:
    """Host declarations for ISC dhcpd: include the file in dhcpd.conf."""
    lines = [
        f'host {row.name} {{ hardware ethernet {row.mac}; fixed-address {row.ip}; option host-name "{row.name}"; }}'
        if _complete(row)
        else _lacking(row)
        for row in plan.rows
    ]
    return "".join(f"{line}\n" for line in lines)


def to_dnsmasq(plan: Plan) -> str:
    """``dhcp-host`` lines: a file for ``conf-dir``."""
    lines = [f"dhcp-host={row.mac},{row.ip},{row.name}" if _complete(row) else _lacking(row) for row in plan.rows]
    return "".join(f"{line}\n" for line in lines)


def to_kea(plan: Plan) -> str:
    """The list for ``reservations`` of a Kea DHCPv4 subnet; ``<?include "FILE"?>`` takes it in."""
    rows: Sequence[Mapping[str, str]] = [
        {"hw-address": row.mac, "ip-address": row.ip, "hostname": row.name} for row in plan.rows if _complete(row)
    ]
    return json.dumps(rows, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Plan], str]] = {
    "csv": to_csv,
    "dhcpd": to_dhcpd,
    "dnsmasq": to_dnsmasq,
    "kea": to_kea,
}


def _complete(row: Assignment) -> bool:
    return bool(row.mac and row.ip and not row.conflict)


def _lacking(row: Assignment) -> str:
    return f"# {row.machine}: {row.conflict or 'has no MAC or address'}"
