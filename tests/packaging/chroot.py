"""A fresh Debian 12 in a folder, as a stranger's machine would be.

Mounts live in a mount namespace of each command and end with it; nothing is left behind but the folder.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.packaging import machine

TREE = Path(__file__).resolve().parents[2]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Chroot:
    """A root file system and how commands run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = machine.client_environment()
        self.shared = machine.shared_paths(self.env)

    def inside(self, path: str) -> Path:
        """The path on this machine of a path in the chroot."""
        return self.root / path.lstrip("/")

    def argv(self, *argv: str, cwd: str = "/root", env: Mapping[str, str] | None = None) -> list[str]:
        """A command in its own mount and process namespaces; its children end with it."""
        variables = {
            "PATH": _PATH,
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "DEBIAN_FRONTEND": "noninteractive",
            **self.env,
            **(env or {}),
        }
        assignments = [f"{key}={value}" for key, value in variables.items()]
        lines = [
            "set -e",
            # Network namespaces inside need a root that is a mount.
            f"mount --bind {shlex.quote(str(self.root))} {shlex.quote(str(self.root))}",
            f"cd {shlex.quote(str(self.root))}",
            "mount -t proc proc proc",
            "mount --rbind /dev dev",
            "mount --rbind /sys sys",
        ]
        for here, there in self.shared.items():
            target = shlex.quote(str(there).lstrip("/"))
            make = f"mkdir -p {target}" if here.is_dir() else f"touch {target}"
            lines += [make, f"mount --bind -o ro {shlex.quote(str(here))} {target}"]
        command = shlex.join(
            ["chroot", ".", "/usr/bin/env", "-i", "-C", cwd, *assignments, *argv],
        )
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
            *("sh", "-c", "\n".join([*lines, f"exec {command}"])),
        ]

    def run(
        self,
        *argv: str,
        cwd: str = "/root",
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
        check: bool = True,
        data: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; what it printed belongs to the error when it fails."""
        done = subprocess.run(
            self.argv(*argv, cwd=cwd, env=env),
            input=data,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def install(self, *packages: str) -> None:
        self.run("apt-get", "update", "-qq", timeout=300)
        self.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, timeout=900)

    def clone(self, to: str = "/root/provisioner") -> None:
        """A clean clone of what is committed."""
        subprocess.run(
            ["git", "clone", "-q", "--no-hardlinks", str(TREE), str(self.inside(to))], check=True, timeout=120
        )


def base() -> Path:
    """debootstrap's result, kept: two minutes that every test would spend alike."""
    sources = machine.debian_sources()
    source = machine.release(sources)
    keyring = source.keyring or str(machine.KEYRING)
    key = hashlib.sha256(repr(sources).encode()).hexdigest()[:12]
    folder = TREE / ".cache" / f"debian-{machine.CODENAME}-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    subprocess.run(
        [
            *("debootstrap", "--variant=minbase", f"--keyring={keyring}", "--include=ca-certificates"),
            *(machine.CODENAME, str(draft), source.uri),
        ],
        check=True,
        timeout=900,
        capture_output=True,
    )
    apt = draft / "etc" / "apt"
    (apt / "sources.list").unlink(missing_ok=True)
    (apt / "sources.list.d" / "debian.sources").write_text(
        "\n".join(
            f"Types: deb\nURIs: {each.uri}\nSuites: {' '.join(each.suites)}\n"
            f"Components: {' '.join(each.components)}\nSigned-By: {machine.KEYRING}\n"
            for each in sources
        )
    )
    (apt / "apt.conf.d" / "99machine").write_text(machine.apt_settings())
    draft.rename(folder)
    return folder


@contextmanager
def fresh(folder: Path) -> Iterator[Chroot]:
    """A machine of one's own in ``folder``, removed afterwards."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(base()), str(folder)], check=True, timeout=300)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, folder / "etc" / name)
    try:
        yield Chroot(folder)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False, timeout=300)
