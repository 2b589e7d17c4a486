"""What ``simulate`` shows is what a scripted client of the running appliance really gets, to the byte."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dhcp.on_wire import CLIENT
from tests.e2e.appliance import Appliance, is_root, serving
from tests.e2e.test_clients import LOADERS, release
from tests.netns import Wire, sh, wire

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not is_root(), reason="namespaces and port 67 need root"),
]
MAC, IP = "52:54:00:12:34:31", "10.97.0.31"
SERVER = "10.97.0.1"


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Appliance]]:
    folder = tmp_path_factory.mktemp("appliance")
    (folder / "release").mkdir()
    with wire(f"{SERVER}/24") as made, serving(made, folder) as appliance:
        appliance.run("subnet", "add", "10.97.0.0/24", "--gateway", SERVER, "--dns", SERVER)
        appliance.run("image", "import", str(release(folder / "release")), "--name", "flatcar")
        appliance.run("machine", "add", "--name", "node-01", "--mac", MAC, "--ip", IP, "--role", "simple")
        made.plug("node", MAC, f"{IP}/24")
        yield made, appliance


def inside(made: Wire, *argv: str) -> subprocess.CompletedProcess[str]:
    return sh(*Wire.exec(made.clients["node"]), *argv, check=False, timeout=60)


def fetched(made: Wire, url: str) -> bytes:
    done = subprocess.run(
        [*Wire.exec(made.clients["node"]), "curl", "--fail", "--silent", "--show-error", "--max-time", "20", url],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (url, done.stderr)
    return done.stdout


def answer(made: Wire, question: str) -> str:
    """The payload that comes back for this one, in hexadecimal."""
    *_, payload = inside(made, sys.executable, "-c", CLIENT, "68", "5", "255.255.255.255", question).stdout.split()
    return payload


@pytest.mark.parametrize("arch", ["uefi-x64", "http-x64"])
def test_what_is_simulated_is_what_a_client_gets(rack: tuple[Wire, Appliance], tmp_path: Path, arch: str) -> None:
    made, appliance = rack
    if appliance.ask("machine", "show", "node-01")["state"] == "ready":
        appliance.run("machine", "arm", "node-01")
    before = appliance.ask("machine", "show", "node-01")
    told: dict[str, Any] = json.loads(appliance.run("simulate", "node-01", "--arch", arch, "--json").stdout)
    assert appliance.ask("machine", "show", "node-01") == before, "simulating changes nothing"
    assert (told["action"], told["ends"], told["arch"]) == ("install", "active", arch)

    asked = [(exchange["who"], exchange["asks"]) for exchange in told["dhcp"]]
    assert asked == [(who, kind) for who in ("firmware", "iPXE") for kind in ("DISCOVER", "REQUEST")]
    for exchange in told["dhcp"]:
        assert answer(made, exchange["question"]) == exchange["packet"]
    (loader,) = told["loads"]
    file = told["dhcp"][1]["answer"]["file"]
    assert loader["name"] == file
    if loader["by"] == "HTTP":
        got = fetched(made, file)
    else:
        target = tmp_path / "loader"
        assert inside(made, "atftp", "-g", "-r", file, "-l", str(target), SERVER).returncode == 0
        got = target.read_bytes()
    assert (len(got), hashlib.sha256(got).hexdigest()) == (loader["size"], loader["sha256"])
    assert got == (LOADERS / file.rpartition("/")[2]).read_bytes()

    url = told["dhcp"][-1]["answer"]["file"]
    script = fetched(made, re.sub(r"&(uuid|serial)=[^&]*", "", url)).decode()
    (token,) = set(re.findall(r"/b/([A-Za-z0-9_-]+)/", script))
    assert script == told["boot_script"].replace("@@INSTALL_TOKEN@@", token).replace("@@SERVER@@", SERVER)
    for part in told["install"]["files"]:
        if part["name"].startswith("boot."):
            continue
        really = fetched(made, f"http://{SERVER}/b/{token}/{part['name']}")
        simulated = part["text"].replace("@@INSTALL_TOKEN@@", token).replace("@@SERVER@@", SERVER)
        pattern = re.escape(simulated).replace("@@MACHINE_TOKEN@@", "[A-Za-z0-9_-]+")
        assert re.fullmatch(pattern, really.decode()), part["name"]
        assert hashlib.sha256(part["text"].encode()).hexdigest() == part["sha256"]


def test_a_firmware_without_a_loader_ends_at_its_first_talk(rack: tuple[Wire, Appliance]) -> None:
    _, appliance = rack
    told = json.loads(appliance.run("simulate", "node-01", "--arch", "uefi-arm64", "--json").stdout)
    assert [exchange["who"] for exchange in told["dhcp"]] == ["firmware", "firmware"]
    assert "no boot file: loader bootnetaa64.efi is not there" in told["dhcp"][1]["reason"]
    shown = appliance.run("simulate", MAC, "--arch", "bios").stdout
    assert f"OFFER address {IP}, next server {SERVER}" in shown
    assert "loads: undionly.kpxe by TFTP" in shown
