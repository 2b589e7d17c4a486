"""A DHCP server on a real wire of namespaces, what it said, and what its clients are run with."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.netns import Wire, sh

ROOT = Path(__file__).parents[2]
Said = dict[str, str]

# Sends one datagram from port 68 (or 67, as a relay) and prints every answer's source and payload, in hex.
CLIENT = """
import socket, sys
port, timeout, target, payload = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.argv[4])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("0.0.0.0", port))
s.settimeout(timeout)
s.sendto(payload, (target, 67))
try:
    data, source = s.recvfrom(4096)
    print(source[0], source[1], data.hex())
except TimeoutError:
    pass
"""


@dataclass
class Running:
    """A server in a namespace, and what it said."""

    process: subprocess.Popen[str]
    lines: "queue.Queue[Said]"

    def until(self, wanted: Callable[[Said], bool], seconds: float = 10) -> list[Said]:
        """Everything said up to the first wanted entry, which is the last of the list."""
        deadline = time.monotonic() + seconds
        said: list[Said] = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                said.append(self.lines.get(timeout=left))
            except queue.Empty:
                break
            if wanted(said[-1]):
                return said
        raise AssertionError(f"not said within {seconds} s; said was {said}")

    def command(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self.until(lambda said: said["kind"] == "obeyed")


@contextmanager
def served(on: Wire, *more: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*on.exec(on.server), sys.executable, "-m", "tests.dhcp.serve", "br0", on.address, *more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[Said] = queue.Queue()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            lines.put(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    running = Running(process, lines)
    try:
        running.until(lambda said: said["kind"] == "serving")
        yield running
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        reader.join(10)


def inside(on: Wire, client: str, *argv: str, check: bool = True) -> str:
    done = sh(*on.exec(on.clients[client]), *argv, check=check, timeout=40)
    return done.stdout + done.stderr


def asked(
    on: Wire, client: str, payload: bytes, port: int = 68, to: str = "255.255.255.255", wait: float = 5
) -> list[str]:
    return inside(on, client, sys.executable, "-c", CLIENT, str(port), str(wait), to, payload.hex()).split()


def udhcpc(on: Wire, client: str, script: Path, *more: str) -> str:
    return inside(
        on,
        client,
        "udhcpc",
        "-i",
        "eth0",
        "-f",
        "-q",
        "-n",
        "-t",
        "2",
        "-T",
        "1",
        "-s",
        str(script),
        *more,
        check=False,
    )


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)
