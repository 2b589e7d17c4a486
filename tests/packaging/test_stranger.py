"""A stranger's evening: a fresh Debian 12, a clone, and what README and quick start say, typed at a terminal.

From nothing to virtual servers that run (the lab), then the same appliance on a wire of its own, with servers of
real firmware that know nothing of it: one behind a BMC, as the README has it, one powered on by hand, as the quick
start has it. The transcript with its seconds is kept in ``.cache/stranger.txt``.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from provisioner.lab.rack import Rack
from tests.netns import sh
from tests.packaging import chroot
from tests.packaging.chroot import TREE, Chroot
from tests.packaging.terminal import Machine, Terminal, Transcript

pytestmark = [pytest.mark.long, pytest.mark.e2e, pytest.mark.timeout(3000)]

_CLONE = "/root/provisioner"
_ARRIVAL = 900
"""Seconds for one machine, from its power button to its own disk, under emulation on a busy host."""


def _typed(file: str) -> list[str]:
    """The lines of a document's shell blocks."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", (TREE / file).read_text(), re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def told() -> Transcript:
    return Transcript(TREE / ".cache" / "stranger.txt")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, told: Transcript) -> Iterator[Chroot]:
    """What the README asks for, and a clone."""
    with chroot.fresh(tmp_path_factory.mktemp("stranger") / "root") as made:
        made.install("git", "make", "python3")
        made.clone()
        told.note("Debian 12 with git, make and python3; cloned")
        yield made


@pytest.fixture(scope="module")
def lab(debian: Chroot, told: Transcript) -> None:
    """``make run``, watched to its end, and left with Ctrl-C."""
    with Machine(debian, told) as host:
        terminal = host.terminal(_CLONE)
        terminal.begin("make run")
        terminal.see("serving until Ctrl-C", 2000)
        terminal.interrupt()
        terminal.prompt("make run", 60, code=None)
        left = terminal.type("cat /proc/[0-9]*/comm")
        assert not [name for name in left.split() if name.startswith(("qemu", "ipmi_sim"))]
    lines = told.text()
    (rack,) = re.findall(r"rack (pl\S+): 2 machines", lines)
    assert rack not in sh("ip", "netns", "list").stdout
    assert re.search(r"node-01 +bios .* active +active", lines)
    assert re.search(r"node-02 +uefi .* active +active", lines)


@pytest.fixture(scope="module")
def rack(lab: None) -> Iterator[Rack]:
    """Two servers and the BMC of each on the wire of ``eth1``, which is 10.12.1.2; the gateway is .1."""
    with Rack(("uefi", "bios"), prefix=IPv4Network("10.12.1.0/24")) as built:
        here = built.network.appliance
        sh("ip", "-n", here, "link", "set", "eth0", "down")
        sh("ip", "-n", here, "link", "set", "eth0", "name", "eth1")
        sh("ip", "-n", here, "addr", "flush", "dev", "eth1")
        sh("ip", "-n", here, "addr", "add", "10.12.1.2/24", "dev", "eth1")
        sh("ip", "-n", here, "link", "set", "eth1", "up")
        sh("ip", "-n", built.network.wire, "addr", "add", "10.12.1.1/24", "dev", "br0")
        yield built


@pytest.fixture
def host(debian: Chroot, told: Transcript, rack: Rack) -> Iterator[Machine]:
    """The same Debian, plugged into that wire; nothing of an earlier appliance on it."""
    subprocess.run(["rm", "-rf", debian.inside("/root/data")], check=True, timeout=60)
    with Machine(debian, told, within=["ip", "netns", "exec", rack.network.appliance]) as made:
        yield made


def _arrives(terminal: Terminal, provisioner: str, name: str) -> None:
    """Look now and then, as a person does, until the machine is active."""
    until = time.monotonic() + _ARRIVAL
    while time.monotonic() < until:
        if re.search(rf"{name} .*\bactive\b", terminal.type(f"{provisioner} machine list")):
            return
        time.sleep(10)
    raise AssertionError(terminal.type(f"{provisioner} machine events {name}"))


def test_the_readme_s_real_wire(host: Machine, debian: Chroot, rack: Rack) -> None:
    server = rack.machines[0]
    typed = [
        line.replace("10.12.200.17", server.bmc_address).replace("--user admin", f"--user {server.bmc_user}")
        for line in _typed("README.md")
    ]
    terminal = host.terminal(_CLONE)
    terminal.type("export PROVISIONER_DATA_DIR=/root/data")
    # The publisher's files, as somebody brings them on a stick; here they are the lab's.
    terminal.type("cp -r netboot_assets/build/images/flatcar/lab 3510.2.8")
    terminal.type(f"echo {server.bmc_password} > password")
    *first, serve, install, events = typed
    for line in first:
        terminal.type(line)
    terminal.type(serve)
    terminal.see("ready: every service answers", 60)
    doctor = terminal.type(".venv/bin/provisioner doctor --interface eth1")
    assert "no problem" in doctor
    terminal.type(install)
    _arrives(terminal, ".venv/bin/provisioner", "node-01")
    assert "active" in terminal.type(events)
    # The shell ends the whole group, as Ctrl-C does: nobody has to be killed for it.
    assert "killed" not in terminal.type("kill %1; wait", code=None)


def test_a_real_wire_in_ten_steps(host: Machine, debian: Chroot, rack: Rack) -> None:
    rack.machines[0].vm.stop()
    server = rack.machines[1]
    subnet, image, machine, render, arm, diagnose = (
        line.replace("52:54:00:12:34:56", str(server.mac)) for line in _typed("docs/quickstart.md")
    )
    terminal = host.terminal(_CLONE)
    settings = "export PROVISIONER_DATA_DIR=/root/data PATH=$PWD/.venv/bin:$PATH"
    terminal.type(settings)
    terminal.type("rm -rf release; cp -r netboot_assets/build/images/flatcar/lab release")
    terminal.type("mkdir -p /etc/provisioner")
    terminal.type("""echo 'interface = "eth1"' > /etc/provisioner/provisioner.toml""")
    for line in (subnet, image, machine, render):
        terminal.type(line)
    other = host.terminal(_CLONE, "second terminal")
    other.type(settings)
    other.begin("provisioner serve")
    other.see("ready: every service answers", 60)
    assert "no problem" in terminal.type("provisioner doctor")
    terminal.type(arm)
    server.vm.start()
    _arrives(terminal, "provisioner", "node-01")
    assert "active" in terminal.type(diagnose)
    other.interrupt()
    assert "killed" not in other.prompt("provisioner serve", 30, code=0)
