"""Which labs there are, written down where a later process finds them: for ``lab status``, ``lab down`` and for
cleaning up after a lab whose process was killed."""

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provisioner.lab.network import remove_namespaces

RECORDS = Path("/run/provisioner-lab")


@dataclass(frozen=True)
class LabRecord:
    """One lab. ``owner`` and ``born`` (start time in clock ticks since boot) name its process, beyond pid reuse."""

    name: str
    owner: int
    born: int
    namespaces: tuple[str, ...]
    directory: str
    ours: bool
    """The directory was made by the lab and goes with it."""
    page: str = ""
    """URL of the page, once there is one."""

    @property
    def alive(self) -> bool:
        """Its process runs."""
        return _born(self.owner) == self.born


def write(
    name: str, namespaces: tuple[str, ...], directory: Path, *, ours: bool, page: str = "", records: Path = RECORDS
) -> LabRecord:
    """Record a lab of this process, before anything of it exists."""
    pid = os.getpid()
    record = LabRecord(name, pid, _born(pid) or 0, namespaces, str(directory), ours, page)
    records.mkdir(mode=0o755, exist_ok=True)
    _file(name, records).write_text(json.dumps(asdict(record)))
    return record


def labs(records: Path = RECORDS) -> list[LabRecord]:
    """All labs on this host, running or left over."""
    found = []
    for file in sorted(records.glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            raw: dict[str, Any] = json.loads(file.read_text())
            found.append(LabRecord(**{**raw, "namespaces": tuple(raw["namespaces"])}))
    return found


def take_down(record: LabRecord, records: Path = RECORDS) -> None:
    """Remove everything a lab left: processes, namespaces, its directory if the lab made it, its record."""
    remove_namespaces(record.namespaces)
    if record.ours:
        shutil.rmtree(record.directory, ignore_errors=True)
    _file(record.name, records).unlink(missing_ok=True)


def end(record: LabRecord, records: Path = RECORDS, seconds: float = 60.0) -> None:
    """``lab down``: ask the lab's process to end, which takes it down; then take down whatever is left."""
    if record.alive:
        with suppress(ProcessLookupError):
            os.kill(record.owner, signal.SIGTERM)
    until = time.monotonic() + seconds
    while record.alive and time.monotonic() < until:
        time.sleep(0.1)
    take_down(record, records)


def take_down_leftovers(records: Path = RECORDS) -> list[str]:
    """Take down the labs whose process is gone; returns their names."""
    gone = [record for record in labs(records) if not record.alive]
    for record in gone:
        take_down(record, records)
    return [record.name for record in gone]


def _file(name: str, records: Path) -> Path:
    return records / f"{name}.json"


def _born(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None if there is no such process, or it is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(fields[18])
