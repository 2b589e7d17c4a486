# ruff: noqa: T201 - a program that prints
"""HTTP bulk transfers of the images service beside nginx: speed, processor time, and memory with slow clients."""

import os
import select
import shutil
import socket
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.bench.tftp_client import MIB
from tests.bench.tftp_servers import HERE, running

OURS = """
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
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 2048; }}
http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
server {{ listen 127.0.0.1:8082; root {folder}; }} }}
"""


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
        "ours": (8081, [sys.executable, "-c", OURS, str(folder)]),
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
