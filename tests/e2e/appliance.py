"""A real ``provisioner serve`` on a test wire, driven by its own command line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns import Wire

READY_SECONDS = 60.0


@dataclass
class Appliance:
    """Commands run in the server's namespace, against the same settings file."""

    wire: Wire
    config: Path

    def argv(self, *words: str) -> list[str]:
        return [
            *self.wire.exec(self.wire.server),
            sys.executable,
            "-m",
            "provisioner",
            "--config",
            str(self.config),
            *words,
        ]

    def run(self, *words: str, data: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*words), input=data, capture_output=True, text=True, timeout=120, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ask(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def messages(self, machine: str) -> list[str]:
        return [event["message"] for event in self.ask("machine", "events", machine)]


@contextmanager
def serving(wire: Wire, folder: Path, **settings: str) -> Iterator[Appliance]:
    """The appliance, ready: DHCP, TFTP and both web apps answer. Ended by SIGTERM."""
    config = folder / "provisioner.toml"
    lines = {"data_dir": str(folder / "data"), "interface": "br0", **settings}
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()))
    appliance = Appliance(wire, config)
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(appliance.argv("serve"), stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        _until_ready(process, log)
        yield appliance
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"serve does not end on SIGTERM:\n{log.read_text()}") from None


def _until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"serve ended:\n{log.read_text()}")
        if _listens(process.pid, "udp", 67, 69) and _listens(process.pid, "tcp", 80, 8080, 8081):
            return
        time.sleep(0.1)
    raise AssertionError(f"serve is not ready:\n{log.read_text()}")


def _listens(pid: int, protocol: str, *ports: int) -> bool:
    table = Path(f"/proc/{pid}/net/{protocol}").read_text()
    return all(f":{port:04X} " in table for port in ports)


def wait_for(what: str, condition: Any, seconds: float = 10.0) -> Any:
    """Poll until ``condition()`` is true; its value. Fails naming what was waited for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:g} s for {what}")


def is_root() -> bool:
    return os.geteuid() == 0
