"""The doctor on a host where much is really wrong: what it gathers is what kernel, files and database say."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance
from tests.netns import Wire, sh, wire

ROLES = Path(__file__).parents[2] / "cloud_configs"

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.fixture
def on() -> Iterator[Wire]:
    with wire() as made:
        yield made


@pytest.fixture
def host(on: Wire, tmp_path: Path) -> Appliance:
    """Nothing is served yet; a listed machine has a role, which lies in a folder of its own."""
    shutil.copytree(ROLES, tmp_path / "roles")
    config = tmp_path / "provisioner.toml"
    config.write_text(f'data_dir = "{tmp_path}/data"\ninterface = "br0"\ncloud_configs = "{tmp_path}/roles"\n')
    made = Appliance(on, config)
    made.run("subnet", "add", "10.98.0.0/24")
    made.run(
        "machine", "add", "--name", "n1", "--mac", "52:54:00:00:00:07", "--ip", "10.98.0.7", "--role", "simple"
    )
    return made


_LOOK = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from provisioner.examination import examine
from provisioner.settings import load
print(json.dumps([asdict(finding) for finding in examine(load(Path(sys.argv[1])), deep=False)]))
"""


def examined(host: Appliance) -> dict[str, list[tuple[str, str, str]]]:
    """Level, finding and remedy, by check. As the page looks by itself: asking the wire takes six seconds."""
    argv = [*host.wire.exec(host.wire.server), sys.executable, "-c", _LOOK, str(host.config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[tuple[str, str, str]]] = {}
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    for each in findings:
        found.setdefault(each["check"], []).append((each["level"], each["says"], each["remedy"]))
    return found


def test_a_role_that_does_not_compile_a_clock_that_went_back_and_a_newer_database(
    host: Appliance, tmp_path: Path
) -> None:
    template = tmp_path / "roles/simple/config.yml.j2"
    template.write_text("#cloud-config\nhostname: {{ machine.nmae }}\n")
    with sqlite3.connect(tmp_path / "data/provisioner.db") as database:
        database.execute("UPDATE events SET at = at + ?", (2 * 86_400 * 1_000_000,))
    found = examined(host)
    ((level, says, remedy),) = found["roles"]
    assert (level, "config.yml.j2:2" in says, "nmae" in says) == ("problem", True, True)
    assert remedy == "mend it, then `provisioner role validate simple`"
    ((level, says, _),) = found["clock"]
    assert (level, "but the newest record here is of" in says) == ("problem", True)
    assert found["database"][0][0] == "ok"

    with sqlite3.connect(tmp_path / "data/provisioner.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    ((level, says, _),) = examined(host)["database"]
    assert (level, "at revision 9999, this program knows up to" in says) == ("problem", True)


def test_a_subnet_behind_a_relay_whose_way_back_is_another(host: Appliance, on: Wire) -> None:
    host.run("subnet", "add", "10.99.0.0/24")
    assert "there is no route to subnet 10.99.0.0/24" in examined(host)["routes"][0][1]
    for words in (
        ("link", "add", "other", "type", "bridge"),
        ("link", "set", "other", "up"),
        ("addr", "add", "10.97.0.1/24", "dev", "other"),
        ("route", "add", "10.99.0.0/24", "via", "10.97.0.2"),
    ):
        sh("ip", "-n", on.server, *words)
    sh(*on.exec(on.server), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    ((level, says, remedy),) = examined(host)["routes"]
    assert (level, "leave by other, and br0 drops what comes from it" in says) == ("warning", True)
    assert "`sysctl -w net.ipv4.conf.br0.rp_filter=2`" in remedy
    sh(*on.exec(on.server), "sh", "-c", "echo 2 > /proc/sys/net/ipv4/conf/br0/rp_filter")
    assert [level for level, _, _ in examined(host)["routes"]] == ["ok"]


def test_an_interface_that_is_down(host: Appliance, on: Wire) -> None:
    sh("ip", "-n", on.server, "link", "set", "br0", "down")
    assert ("problem", "interface br0 is down", "`ip link set br0 up`") in examined(host)["wire"]
