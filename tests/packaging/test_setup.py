"""Set-up as a stranger meets it: a fresh Debian 12 with git and make, a clone, and the README's commands."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import Wire, wire
from tests.packaging import chroot, machine
from tests.packaging.chroot import TREE, Chroot
from tests.packaging.machine import Source

_HTTP = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def test_apt_sources_are_read_in_both_of_their_formats(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian bookworm main\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/keys/a.gpg] http://mirror.example/debian bookworm main contrib # ours\n"
        "deb http://mirror.example/other stable main\n"
    )
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/security\n"
        "Suites: bookworm-security\nComponents: main\nSigned-By: /keys/b.gpg\n\n"
        "Types: deb\nURIs: http://mirror.example/off\nSuites: bookworm\nComponents: main\nEnabled: no\n\n"
        "Types: deb\nURIs: http://mirror.example/inline\nSuites: bookworm\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n"
    )
    assert machine.debian_sources(tmp_path) == [
        Source("http://mirror.example/debian", ("bookworm",), ("main", "contrib"), "/keys/a.gpg"),
        Source("http://mirror.example/security", ("bookworm-security",), ("main",), "/keys/b.gpg"),
        Source("http://mirror.example/inline", ("bookworm",), ("main",)),
    ]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_python_package_is_pinned_and_hashed(name: str) -> None:
    text = (TREE / ".setup" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert [
        line for line in lines if not re.match(r"[\w.-]+(\[[\w,-]+])?==\S+(\s*;[^-]*)?\s+--hash=sha256:", line)
    ] == []
    # What the editable install builds with comes from the same list: Debian's venv brings an old setuptools.
    assert any(line.startswith("setuptools==") for line in lines)


def test_set_up_refuses_a_set_it_does_not_know() -> None:
    done = subprocess.run(
        [TREE / ".setup" / "setup.sh", "everything"], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, "[runtime|lab|test]" in done.stderr) == (2, True)


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """A fresh Debian 12 with what the README asks for, and a clone."""
    with chroot.fresh(tmp_path_factory.mktemp("stranger") / "root") as made:
        made.install("git", "make", "python3")
        made.clone()
        yield made


def _serves(debian: Chroot, on: Wire) -> None:
    """``serve`` in the chroot, on a wire of its own, answers its page and its machines."""
    argv = debian.argv(
        ".venv/bin/provisioner", "serve", "--interface", "br0", cwd="/root/provisioner",
        env={"PROVISIONER_DATA_DIR": "/tmp/data"},
    )  # fmt: skip
    log = debian.inside("/tmp/serve.log")
    with (
        log.open("wb") as out,
        subprocess.Popen([*on.exec(on.server), *argv], stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            for path in (":8080/healthz", "/boot.ipxe?mac=52:54:00:00:00:01"):
                until = time.monotonic() + 60
                while True:
                    got = subprocess.run(
                        [*on.exec(on.server), "python3", "-c", _HTTP, f"http://{on.address}{path}"],
                        capture_output=True, text=True, timeout=30, check=False,
                    )  # fmt: skip
                    if got.returncode == 0:
                        break
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < until, got.stderr
                    time.sleep(0.2)
        finally:
            # unshare ignores SIGTERM; when it is killed, the kernel ends its process namespace.
            process.kill()
            process.wait(30)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_fresh_debian_gets_the_appliance_running(debian: Chroot) -> None:
    tree = "/root/provisioner"
    debian.run(".setup/setup.sh", "runtime", cwd=tree, timeout=1200)
    started = time.monotonic()
    again = debian.run(".setup/setup.sh", "runtime", cwd=tree, timeout=60)
    assert time.monotonic() - started < 2
    assert "setup:" not in again.stderr
    assert "serve" in debian.run(".venv/bin/provisioner", "--help", cwd=tree).stdout
    with wire() as on:
        _serves(debian, on)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_fresh_debian_passes_make_check(debian: Chroot) -> None:
    """After the test above or alone: set-up starts from whatever is there."""
    tree = "/root/provisioner"
    debian.run("make", "setup", cwd=tree, timeout=1800)
    started = time.monotonic()
    debian.run("make", "setup", cwd=tree, timeout=60)
    assert time.monotonic() - started < 2
    checked = debian.run("make", "check", cwd=tree, timeout=2400)
    assert re.search(r"\d+ passed", checked.stdout)
