# ruff: noqa: T201 - a program that prints
"""TFTP and HTTP against their peers in one run: ``make bench-delivery`` (root: it makes a network namespace).

Servers run on the first processor, the client on the last. Figures compare within a run only. A peer that is not
installed is left out by name.
"""

import argparse
import heapq
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
HERE = "127.0.0.1"

OURS_TFTP = """
import sys, pathlib, ipaddress
from tests.images.serving import FixedSnapshot
from provisioner.tftp.limits import Limits
from provisioner.tftp.server import TftpServer
class Nobody:
    def observe(self, event): pass
    def sight(self, sighting): pass
limits = Limits(single_port=len(sys.argv) > 2)
TftpServer(pathlib.Path(sys.argv[1]), [(ipaddress.ip_address("127.0.0.1"), 69)], FixedSnapshot(), Nobody(),
           limits=limits).run()
"""
OURS_HTTP = """
import asyncio, pathlib, sys
from tests.images.serving import FixedSnapshot, Recorder
from provisioner.images.containers import ContainerStore
from provisioner.images.payload import PayloadStore
from provisioner.images.server import create_app, listening
from provisioner.images.store import ImageStore
from provisioner.images.traffic import Traffic
data = pathlib.Path(sys.argv[1])
app = create_app(ImageStore(data / "images"), PayloadStore(data / "payload"), FixedSnapshot(), Recorder(),
                 lambda: 0, ContainerStore(data / "containers"), Traffic(FixedSnapshot(), 1000))
async def serve():
    async with listening(app, "127.0.0.1", 8081):
        await asyncio.Event().wait()
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    runner.run(serve())
"""
TFTPY = "import sys, tftpy; tftpy.TftpServer(sys.argv[1]).listen('127.0.0.1', 69)"
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 2048; }}
http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
server {{ listen 127.0.0.1:8082; root {folder}; }} }}
"""


def tftp_servers(folder: Path) -> dict[str, list[str]]:
    """Command lines; all serve ``folder`` on port 69."""
    return {
        "ours": [sys.executable, "-c", OURS_TFTP, str(folder)],
        "ours, single port": [sys.executable, "-c", OURS_TFTP, str(folder), "single"],
        "tftpd-hpa": [peer("tftpd-hpa", "in.tftpd"), "-4L", "-a", f"{HERE}:69", "-u", "root", "-s", str(folder)],
        "atftpd": [
            *(peer("atftpd", "atftpd"), "--daemon", "--no-fork", "--user", "root.root"),
            *("--bind-address", HERE, str(folder)),
        ],
        "dnsmasq": [
            *("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--enable-tftp"),
            *("--bind-interfaces", "--interface=lo", f"--tftp-root={folder}", "--tftp-max=200"),
            f"--pid-file={folder}/.pid",
        ],
        "tftpy": [sys.executable, "-W", "ignore", "-c", TFTPY, str(folder)],
    }


@cache
def peer(package: str, program: str) -> str:
    """The program out of a Debian package that is not installed: both of these would want port 69 of this host."""
    into = ROOT / ".cache" / "peers" / package
    found = into / "usr" / "sbin" / program
    if not found.exists():
        into.mkdir(parents=True, exist_ok=True)
        for command in (["apt-get", "download", "-qq", package], ["sh", "-c", f"dpkg -x {package}_*.deb ."]):
            subprocess.run(command, cwd=into, check=False, capture_output=True, timeout=60)
    return str(found)


WINDOWS = ("ours", "ours, single port", "atftpd")
"""Those that know windowsize."""


@contextmanager
def running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server on the first processor, with all its children gone at the end."""
    program = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", "0", *argv],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


@dataclass
class Read:
    """One transfer of the TFTP client."""

    sock: socket.socket
    windowsize: int
    blksize: int
    expected: int
    peer: tuple[str, int]
    block: int = 0
    in_window: int = 0
    received: int = 0
    last: bytes = b""
    heard: float = 0.0
    done: bool = False

    def take(self, data: bytes, sender: tuple[str, int], now: float) -> None:
        kind = data[1]
        self.heard = now
        if kind == 6:
            self.peer = sender
            return self.say(b"\0\4\0\0")
        if kind != 3:
            raise RuntimeError(f"the server refused: {data!r}")
        self.peer = sender
        if data[2:4] != ((self.block + 1) & 0xFFFF).to_bytes(2, "big"):
            self.in_window = 0
            return None if self.windowsize == 1 else self.acknowledge()
        self.block += 1
        self.received += len(data) - 4
        self.in_window += 1
        self.done = len(data) - 4 < self.blksize
        return self.acknowledge() if self.done or self.in_window == self.windowsize else None

    def acknowledge(self) -> None:
        self.in_window = 0
        self.say(b"\0\4" + (self.block & 0xFFFF).to_bytes(2, "big"))

    def say(self, data: bytes) -> None:
        self.last = data
        self.sock.sendto(data, self.peer)


def read_all(name: str, size: int, clients: int, blksize: int, windowsize: int, port: int = 69) -> float:
    """MiB/s of ``clients`` reads at once. Raises RuntimeError when they don't end."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        reads: dict[int, Read] = {}
        request = f"\0\1{name}\0octet\0blksize\0{blksize}\0".encode()
        if windowsize > 1:
            request += f"windowsize\0{windowsize}\0".encode()
        begun = time.monotonic()
        for _ in range(clients):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.setblocking(False)
            read = Read(sock, windowsize, blksize, size, (HERE, port), heard=begun)
            read.say(request)
            reads[sock.fileno()] = read
            poll.register(sock, select.EPOLLIN)
        left = clients
        while left:
            now = time.monotonic()
            if now - begun > 120:
                raise RuntimeError(f"{left} of {clients} reads did not end within 120 s")
            for fd, _ in poll.poll(0.2):
                read = reads[fd]
                with suppress(BlockingIOError):
                    for _ in range(64):
                        data, sender = read.sock.recvfrom(70_000)
                        read.take(data, sender, now)
                        if read.done:
                            poll.unregister(fd)
                            left -= 1
                            break
            for read in reads.values():
                if not read.done and now - read.heard > 1:
                    read.heard = now
                    read.say(read.last)
        seconds = time.monotonic() - begun
    short = [read.received for read in reads.values() if read.received != size]
    if short:
        raise RuntimeError(f"{short[0]} of {size} bytes arrived")
    return clients * size / MIB / seconds


def ready_tftp(server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until and server.poll() is None:
        with suppress(RuntimeError, OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.3)
            sock.sendto(b"\0\1tiny\0octet\0", (HERE, 69))
            data, peer = sock.recvfrom(2000)
            if data[1] == 3:
                sock.sendto(b"\0\4\0\1", peer)
                return
        time.sleep(0.1)
    raise RuntimeError("it does not answer")


def relay(delay: float) -> None:
    """Between a client and port 69, ``delay`` seconds each way; one client. Runs for ever, port 6969."""
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind((HERE, 6969))
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind((HERE, 0))
    client, server = ("", 0), (HERE, 69)
    queue: list[tuple[float, int, socket.socket, bytes, tuple[str, int]]] = []
    number = 0
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else 1.0
        for sock in select.select([near, far], [], [], wait)[0]:
            data, sender = sock.recvfrom(70_000)
            # Where it goes is settled now: a later request must not carry away the last ACK of this one.
            if sock is near:
                client, server = sender, (HERE, 69) if data[1] == 1 else server
                out, to = far, server
            else:
                server = sender
                out, to = near, client
            number += 1
            heapq.heappush(queue, (time.monotonic() + delay, number, out, data, to))
        while queue and queue[0][0] <= time.monotonic():
            _, _, out, data, to = heapq.heappop(queue)
            out.sendto(data, to)


def bench_tftp(folder: Path, quick: bool) -> None:
    sizes = {"1m": MIB, "8m": 8 * MIB, "64m": 64 * MIB}
    (folder / "tiny").write_bytes(b"x")
    for name, size in sizes.items():
        (folder / name).write_bytes(os.urandom(size))
    cases = [("1m", 1, 512), ("1m", 1, 1468), ("1m", 32, 1468)]
    cases += [] if quick else [("64m", 1, 1468), ("8m", 32, 1468), ("1m", 32, 512)]
    for name, clients, blksize in cases:
        for windowsize in (1, 4, 16):
            speeds = {}
            for server, argv in tftp_servers(folder).items():
                if windowsize == 1 or server in WINDOWS:
                    speeds[server] = best(argv, partial(read_all, name, sizes[name], clients, blksize, windowsize))
            told(f"TFTP {clients} × {name.upper()}iB, blksize {blksize}, windowsize {windowsize}", speeds, "ours")
    servers = tftp_servers(folder)
    hpa = best(servers["tftpd-hpa"], partial(read_all, "1m", MIB, 32, 1468, 1))
    ours = best(servers["ours"], partial(read_all, "1m", MIB, 32, 1468, 4))
    if isinstance(hpa, float) and isinstance(ours, float):
        print(f"ours with windowsize 4 / tftpd-hpa without, 32 clients: {ours / hpa:.2f} (target 1.5)")
    with running([sys.executable, "-m", "tests.bench.delivery", "--relay"]):
        by_window = {
            size: best(servers["ours"], partial(read_all, "1m", MIB, 1, 1468, size, 6969)) for size in (1, 16)
        }
    one, many = by_window[1], by_window[16]
    if isinstance(one, float) and isinstance(many, float):
        print(f"1 ms each way: windowsize 1 {one:.2f} MiB/s, 16 {many:.2f} MiB/s: × {many / one:.1f} (target 8)\n")


def best(argv: list[str], measure: Callable[[], float], times: int = 2) -> float | str:
    """The best of some runs, or why there is none."""
    if shutil.which(argv[0]) is None:
        return "not installed"
    try:
        with running(argv) as server:
            ready_tftp(server)
            return max(measure() for _ in range(times))
    except (RuntimeError, OSError) as error:
        return str(error)


def told(title: str, speeds: dict[str, float | str], mine: str) -> None:
    print(title)
    own = speeds[mine]
    for name, speed in speeds.items():
        if isinstance(speed, str):
            print(f"  {name:18} {speed}")
        elif isinstance(own, float):
            print(f"  {name:18} {speed:9.1f} MiB/s   ours/it {own / speed:5.2f}")
    sys.stdout.flush()


def bench_http(folder: Path, quick: bool) -> None:
    size = (64 if quick else 512) * MIB
    (folder / "payload").mkdir()
    with (folder / "payload" / "file").open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    servers = {
        "ours": (8081, [sys.executable, "-c", OURS_HTTP, str(folder)]),
        "nginx": (8082, ["nginx", "-c", str(folder / "nginx.conf")]),
    }
    for clients in (1, 4, 64):
        speeds: dict[str, float | str] = {}
        costs: dict[str, float] = {}
        for name, (port, argv) in servers.items():
            if shutil.which(argv[0]) is None:
                speeds[name] = "not installed"
                continue
            with running(argv) as server:
                ready_http(port)
                runs = []
                for _ in range(2):
                    before, begun = processor_seconds(server.pid), time.monotonic()
                    download(port, clients, size if clients < 64 else size // 8)
                    amount = clients * (size if clients < 64 else size // 8)
                    seconds = time.monotonic() - begun
                    runs.append(
                        (amount / MIB / seconds, (processor_seconds(server.pid) - before) / (amount / 2**30))
                    )
                speeds[name], costs[name] = max(runs)[0], min(cost for _, cost in runs)
        told(f"HTTP {clients} clients", speeds, "ours")
        print("  CPU seconds per GiB: " + ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items()))
    port, argv = servers["ours"]
    with running(argv) as server, ExitStack() as stack:
        ready_http(port)
        for _ in range(500):
            sock = stack.enter_context(socket.create_connection((HERE, port)))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.sendall(b"GET /payload/file HTTP/1.1\r\nHost: a\r\n\r\n")
            sock.recv(1000)
        print(f"RSS with 500 slow clients: {resident(server.pid) / MIB:.0f} MiB (target 150 MB)")


def download(port: int, clients: int, amount: int) -> None:
    """``amount`` bytes to each client at once; MSG_TRUNC lets the kernel throw them away."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        left: dict[int, tuple[socket.socket, int]] = {}
        for _ in range(clients):
            sock = stack.enter_context(socket.create_connection((HERE, port)))
            sock.sendall(f"GET /payload/file HTTP/1.1\r\nHost: a\r\nRange: bytes=0-{amount - 1}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
            left[sock.fileno()] = sock, amount - len(head.split(b"\r\n\r\n", 1)[1])
            poll.register(sock, select.EPOLLIN)
        buffer = bytearray(MIB)
        while left:
            for fd, _ in poll.poll(10):
                sock, missing = left[fd]
                got = sock.recv_into(buffer, MIB, socket.MSG_TRUNC)
                if not got and missing:
                    raise RuntimeError(f"{missing} bytes are missing")
                if missing <= got:
                    poll.unregister(fd)
                    del left[fd]
                else:
                    left[fd] = sock, missing - got


def ready_http(port: int) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection((HERE, port)).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers on port {port}")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, for a busy machine")
    parser.add_argument("--relay", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.relay:
        relay(0.001)
    if not chosen.inside:
        tftp_servers(ROOT)  # Fetches the peers; there is no network where they run.
        # A namespace of its own: port 69 is free there, whatever this host serves.
        command = [sys.executable, "-m", "tests.bench.delivery", "--inside", *sys.argv[1:]]
        # tftpd-hpa looks its address up by AI_ADDRCONFIG, which wants one that is not 127.0.0.1.
        wire = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"'
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", wire, "sh", *command])
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="delivery-", dir="/dev/shm") as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "tftp").mkdir()
        bench_tftp(folder / "tftp", chosen.quick)
        bench_http(folder, chosen.quick)


if __name__ == "__main__":
    main()
