"""The TFTP servers that are compared: ours, and peers that come from Debian and from PyPI for the bench only."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".cache" / "peers"
HERE = "127.0.0.1"

OURS = """
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
TFTPY = "import sys, tftpy; tftpy.TftpServer(sys.argv[1]).listen('127.0.0.1', 69)"
FBTFTP = """
import os, sys
sys.path.insert(0, sys.argv[2])
from fbtftp.base_handler import BaseHandler, ResponseData
from fbtftp.base_server import BaseServer
class File(ResponseData):
    def __init__(self, path):
        self._file, self._size = open(path, "rb"), os.stat(path).st_size
    def read(self, n):
        return self._file.read(n)
    def size(self):
        return self._size
    def close(self):
        self._file.close()
class Handler(BaseHandler):
    def get_response_data(self):
        return File(os.path.join(sys.argv[1], self._path))
class Server(BaseServer):
    def get_handler(self, server, peer, path, options):
        return Handler(server, peer, path, options, lambda stats: None)
Server("127.0.0.1", 69, retries=5, timeout=2).run()
"""
WINDOWS = ("ours", "ours, single port", "atftpd")
"""Those that know windowsize."""


def tftp_servers(folder: Path) -> dict[str, list[str]]:
    """Command lines; all serve ``folder`` on port 69."""
    return {
        "ours": [sys.executable, "-c", OURS, str(folder)],
        "ours, single port": [sys.executable, "-c", OURS, str(folder), "single"],
        "tftpd-hpa": [debian("tftpd-hpa", "in.tftpd"), "-4L", "-a", f"{HERE}:69", "-u", "root", "-s", str(folder)],
        "atftpd": [
            *(debian("atftpd", "atftpd"), "--daemon", "--no-fork", "--user", "root.root"),
            *("--bind-address", HERE, str(folder)),
        ],
        "dnsmasq": [
            *("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--enable-tftp"),
            *("--bind-interfaces", "--interface=lo", f"--tftp-root={folder}", "--tftp-max=200"),
            f"--pid-file={folder}/.pid",
        ],
        "fbtftp": [sys.executable, "-W", "ignore", "-c", FBTFTP, str(folder), pypi("fbtftp", "0.5")],
        "tftpy": [sys.executable, "-W", "ignore", "-c", TFTPY, str(folder)],
    }


@cache
def debian(package: str, program: str) -> str:
    """The program out of a Debian package that is not installed: both of these would want port 69 of this host,
    and `in.tftpd` may be either.
    """
    into = PEERS / package
    found = into / "usr" / "sbin" / program
    if not found.exists():
        into.mkdir(parents=True, exist_ok=True)
        for command in (["apt-get", "download", "-qq", package], ["sh", "-c", f"dpkg -x {package}_*.deb ."]):
            subprocess.run(command, cwd=into, check=False, capture_output=True, timeout=60)
    return str(found)


@cache
def pypi(package: str, version: str) -> str:
    """A folder with a package of PyPI that nothing but this bench needs."""
    into = PEERS / f"{package}-{version}"
    if not into.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(into)]
        subprocess.run([*command, f"{package}=={version}"], check=False, capture_output=True, timeout=120)
    return str(into)


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


def ready_tftp(server: subprocess.Popen[bytes]) -> None:
    """Wait until it sends a file. Raises RuntimeError."""
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
