"""Leases that cannot be written: who is listed is served, nobody else is lied to, and the page says why."""

import errno
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, serving, wait_for
from tests.netns import Wire, sh, wire

from .on_wire import inside, udhcpc
from .rack import IP, MAC, STRANGER
from .test_lease_file import damaged

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, port 67 and mounts need root"),
]
PASSWORD = "only-for-this-test"

# Logs in and prints its cookie, or with one prints a page as text.
BROWSER = """
import sys, urllib.parse, urllib.request
base, name, secret = sys.argv[1:]
jar = urllib.request.HTTPCookieProcessor()
opener = urllib.request.build_opener(jar)
if name == "cookie":
    request = urllib.request.Request(base + "/", headers={"Cookie": secret})
    print(opener.open(request, timeout=20).read().decode())
else:
    form = urllib.parse.urlencode({"name": name, "password": secret}).encode()
    opener.open(urllib.request.Request(base + "/login", form), timeout=20)
    print("; ".join(f"{cookie.name}={cookie.value}" for cookie in jar.cookiejar))
"""


@contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    at.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(at))
    try:
        yield at
    finally:
        sh("umount", "-l", str(at))


def fill(file: Path) -> None:
    """Until there is no room for another byte."""
    with file.open("wb", buffering=0) as sink:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    sink.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Somebody writes to it and does not end."""
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")


def asks(on: Wire, client: str, script: Path) -> str:
    sh("ip", "-n", on.clients[client], "addr", "flush", "dev", "eth0", "scope", "global")
    return udhcpc(on, client, script)


def banner(html: str) -> str:
    return "".join(re.findall(r'<p class="banner".*?</p>', html))


@pytest.mark.timeout(300)
@pytest.mark.rule("fault-03")
@pytest.mark.rule("fault-04")
def test_no_address_of_a_pool_is_given_out_and_the_page_says_why(tmp_path: Path, script: Path) -> None:
    with ExitStack() as stack:
        on = stack.enter_context(wire("10.98.0.1/24"))
        disk = stack.enter_context(small_disk(tmp_path / "data"))
        damaged(disk / "leases.db")
        appliance = stack.enter_context(serving(on, tmp_path))
        on.plug("node", str(MAC))
        on.plug("stranger", str(STRANGER))
        on.plug("person", "52:54:00:98:0b:01", "10.98.0.5/24")
        prepare(appliance)
        browser = [sys.executable, "-c", BROWSER, "http://10.98.0.1:8080"]
        cookie = inside(on, "person", *browser, "person", PASSWORD).strip()

        def page() -> str:
            return banner(inside(on, "person", *browser, "cookie", cookie))

        def served_and_refused(why: str) -> None:
            assert "GOT" not in asks(on, "stranger", script)
            assert f"GOT bound ip={IP}" in asks(on, "node", script)
            told = wait_for("a banner", lambda: page() if why in page() else "", 30)
            assert "Addresses of pools are not given out: leases cannot be written" in told

        served_and_refused("leases.db could not be opened")
        for file in disk.glob("leases.db*"):
            file.unlink()
        wait_for("the banner to go", lambda: "leases cannot be written" not in page(), 30)
        assert "GOT bound ip=10.98.0.200" in asks(on, "stranger", script)

        # Both: who holds the inventory's database keeps nobody who is listed from booting, either.
        with held(disk / "leases.db"), held(disk / "provisioner.db"):
            served_and_refused("(database is locked)")
        wait_for("the banner to go", lambda: "leases cannot be written" not in page(), 30)
        assert "GOT bound ip=10.98.0.200" in asks(on, "stranger", script)

        fill(disk / "ballast")
        served_and_refused("(database or disk is full)")
        (disk / "ballast").unlink()
        wait_for("the banner to go", lambda: "leases cannot be written" not in page(), 30)
        assert "GOT bound ip=10.98.0.200" in asks(on, "stranger", script)


def prepare(appliance: Appliance) -> None:
    appliance.run("subnet", "add", "10.98.0.0/24", "--unknown", "address", "--pool", "10.98.0.200-10.98.0.209")
    appliance.run("machine", "add", "--name", "node17", "--mac", str(MAC), "--ip", str(IP), "--role", "simple")
    appliance.run("user", "add", "person", "--password-stdin", data=PASSWORD + "\n")
