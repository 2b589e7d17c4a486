"""A workbench on which a rendered install.sh really runs: a web server that records what it is told, and a
folder with the programs that would touch hardware, each doing the little that the script can see of it.
"""

import json
import os
import stat
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MIB = 2**20
TOKEN = "t0ken-of-this-install"

_LSBLK = """#!/bin/bash
case "$*" in
*--pairs*) cat "$BENCH/disks" ;;
*"--output SIZE"*) stat -c %s "${@: -1}" ;;
*NAME,TYPE*) echo "${@: -1} disk"; cat "$BENCH/partitions" 2>/dev/null || true ;;
*NAME,LABEL*) sed 's/ part$/ ROOT/' "$BENCH/partitions" 2>/dev/null || true ;;
*) echo "lsblk: what is $*?" >&2; exit 64 ;;
esac
"""
_WIPEFS = """#!/bin/bash
echo "wipefs $*" >>"$BENCH/calls"
if [[ $1 == --all ]]; then rm -f "$BENCH/signatures" "$BENCH/partitions"; exit; fi
if [[ $* != *p1 ]]; then cat "$BENCH/signatures" 2>/dev/null || true; fi
"""
_INSTALLER = """#!/bin/bash
echo "flatcar-install $*" >>"$BENCH/calls"
while getopts d:b:V:c: option; do declare "$option=$OPTARG"; done
cp "$c" "$BENCH/config-given"
[[ ! -e $BENCH/installer-fails ]] || { echo "bunzip2: data integrity error"; exit 3; }
echo "downloading... 40%"
for _ in 1 2 3 4 5 6; do sleep 0.2; done
printf 'IMAGE' | dd of="$d" conv=notrunc status=none
echo "gpt" >"$BENCH/signatures"
echo "$d"p1 part >"$BENCH/partitions"
"""
_RECORDED = """#!/bin/bash
echo "${0##*/} $*" >>"$BENCH/calls"
"""


@dataclass
class Bench:
    """Use as a context manager. ``reports`` holds (path, body) in the order in which they arrived."""

    folder: Path
    reports: list[tuple[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """What GET answers, by path; anything else is a 404."""
    lose_reports: bool = False
    lose_next: dict[str, int] = field(default_factory=dict)
    """So many reports of a kind are lost, the next one arrives."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Status by kind of report."""
    asked: list[str] = field(default_factory=list)
    """Kinds of the reports that were posted, lost ones too."""

    def __post_init__(self) -> None:
        self.bin = self.folder / "bin"
        self.work = self.folder / "work"
        self.bin.mkdir()
        for name, text in {
            "lsblk": _LSBLK,
            "wipefs": _WIPEFS,
            "flatcar-install": _INSTALLER,
            **dict.fromkeys(("date", "hwclock", "blockdev", "udevadm", "mount", "umount", "systemctl"), _RECORDED),
        }.items():
            self.program(name, text)

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def disk(self, name: str = "sda", size: int = 64 * MIB, flags: str = 'RO="0" RM="0"') -> Path:
        path = self.folder / name
        with path.open("wb") as file:
            file.truncate(size)
        with (self.folder / "disks").open("a") as listing:
            listing.write(f'NAME="{path}" SIZE="{size}" TYPE="disk" {flags}\n')
        return path

    def signatures(self, text: str) -> None:
        (self.folder / "signatures").write_text(text)

    @property
    def root(self) -> Path:
        return self.work / "root"

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def phases(self) -> list[str]:
        """The phases reported, each once, in order."""
        return list(dict.fromkeys(body["phase"] for path, body in self.reports if path.endswith("/progress")))

    def only(self, what: str) -> Any:
        """The one report of that kind."""
        (body,) = [body for path, body in self.reports if path == f"/b/{TOKEN}/{what}"]
        return body

    def run(self, script: bytes, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it as the live system would; its output, and 0 or 1."""
        here = f"http://127.0.0.1:{self._server.server_port}"
        text = script.decode().replace("http://@@SERVER@@:8081", here).replace("http://@@SERVER@@", here)
        path = self.folder / "install.sh"
        path.write_text(text.replace("@@INSTALL_TOKEN@@", TOKEN))
        return subprocess.run(
            ["bash", str(path)],
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "BENCH": str(self.folder),
                "PROVISIONER_WORK": str(self.work),
                "PROVISIONER_BY_ID": str(self.folder / "by-id"),
                "PROVISIONER_SYS_BLOCK": str(self.folder),
                "PROVISIONER_HEARTBEAT": "1",
                "PROVISIONER_PATIENCE": "1",
                "PROVISIONER_PAUSE": "0.05",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __enter__(self) -> "Bench":
        bench = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                data = bench.files.get(self.path)
                self._answer(404 if data is None else 200, data or b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                kind = self.path.rsplit("/", 1)[1]
                bench.asked.append(kind)
                if bench.lose_reports or bench.lose_next.get(kind):
                    bench.lose_next[kind] = bench.lose_next.get(kind, 0) - 1
                    self._answer(503, b"")
                    return
                if kind in bench.refuse:
                    self._answer(bench.refuse[kind], b"")
                    return
                is_json = self.headers["Content-Type"] == "application/json"
                bench.reports.append((self.path, json.loads(body) if is_json else body))
                self._answer(200, b"")

            def _answer(self, status: int, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")

            def log_message(self, *args: object) -> None:
                """The reports are the record."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
