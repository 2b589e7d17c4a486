"""A chroot's Debian with its own systemd as process 1, in namespaces: units run as they would on a server."""

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packaging.chroot import Chroot

ADDRESS = "10.98.0.1"
"""Of its interface eth1, a wire that nobody else is on."""

# pivot_root and not chroot: user namespaces (PrivateUsers=) are refused in a chroot.
_BOOT = """
set -e
cd {root}
mount --bind . .
cd {root}
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
ip link add eth1 type veth peer name far
ip addr add {address}/24 dev eth1
ip link set eth1 up
ip link set far up
mkdir -p mnt/old
pivot_root . mnt/old
umount -l /mnt/old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
"""


class Booted:
    """Commands run beside its services."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *argv: str, check: bool = True, data: str | None = None) -> subprocess.CompletedProcess[str]:
        """As root, in all of its namespaces."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-C", "-u", "-i", "--root", "--wd"]
        env = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        done = subprocess.run(
            [*enter, *env, *argv], input=data, capture_output=True, text=True, timeout=120, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def until(self, *argv: str, seconds: float = 90) -> str:
        """Run it until it succeeds; what it printed."""
        deadline = time.monotonic() + seconds
        while (done := self.run(*argv, check=False)).returncode:
            if time.monotonic() > deadline:
                log = self.run("journalctl", "--namespace=*", "--no-pager", "-n", "60", check=False).stdout
                raise AssertionError(f"{shlex.join(argv)}: {done.stdout}{done.stderr}\n{log}")
            time.sleep(0.5)
        return done.stdout


@contextmanager
def booted(made: Chroot) -> Iterator[Booted]:
    """Until the block ends; killing its process 1 ends every process in it."""
    script = _BOOT.format(root=shlex.quote(str(made.root)), address=ADDRESS)
    unshare = ["unshare", "--mount", "--pid", "--net", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child"]
    with subprocess.Popen(
        [*unshare, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            system = Booted(_child(process))
            system.until("systemctl", "list-jobs", seconds=60)
            yield system
        finally:
            process.kill()
            process.wait(30)


def _child(process: subprocess.Popen[bytes]) -> int:
    """unshare's child, when it has become systemd."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(process.stderr.read().decode() if process.stderr else "")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/exe").readlink().name == "systemd":
            return int(children[0])
        time.sleep(0.1)
    raise AssertionError("systemd did not come up")
