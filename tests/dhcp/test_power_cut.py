"""What a power cut may take: nothing that was acknowledged.

No file system here loses what was not synced, so the order is looked at instead: between the write of a lease
and the ACK that promises it, the kernel reported that file as synced.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.netns import wire

from .on_wire import served, udhcpc
from .rack import STRANGER

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and port 67 need root"),
]
_ACK = "\\x35\\x01\\x05"
_TRACED = ("-f", "-y", "-x", "-s", "1500", "-e", "trace=pwrite64,write,fsync,fdatasync,sendto,sendmsg,sendmmsg")


@pytest.mark.rule("fault-02")
def test_an_ack_leaves_only_after_the_disk_has_the_lease(tmp_path: Path, script: Path) -> None:
    leases, calls = tmp_path / "leases.db", tmp_path / "calls"
    with wire("10.98.0.1/24") as on, served(on, "authoritative", str(leases)) as server:
        on.plug("stranger", str(STRANGER))
        tracing = subprocess.Popen(
            ["strace", *_TRACED, "-o", str(calls), "-p", str(server.process.pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert tracing.stderr
            assert "attached" in tracing.stderr.readline()
            assert "GOT bound ip=10.98.0.200" in udhcpc(on, "stranger", script)
        finally:
            tracing.terminate()
            tracing.wait(10)
            tracing.stderr.close()
    order = [step for line in calls.read_text().splitlines() if (step := _step(line))]
    ack = order.index("ack")
    written = max(n for n, step in enumerate(order[:ack]) if step == "write")
    assert "synced" in order[written:ack], order


def _step(line: str) -> str:
    """What a call was to us; an interrupted one counts when it is done."""
    if re.search(r"send(to|msg|mmsg)\(", line) and _ACK in line:
        return "ack"
    if "leases.db" not in line and "resumed" not in line:
        return ""
    if re.search(r"(fsync|fdatasync)(\(| resumed)", line):
        return "synced" if re.search(r"= 0\b", line) else ""
    return "write" if re.search(r"\bp?write(64)?\(", line) else ""
