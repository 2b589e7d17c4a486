"""``small-cluster`` in the lab: three machines install themselves, and etcd (Debian's), as their rendered configs
describe it, makes one cluster of them that reports healthy and takes a write."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab import record
from tests.e2e.test_rack import Lab, end, start
from tests.netns import sh

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]
ADDRESSES = ("10.77.0.11", "10.77.0.12", "10.77.0.13")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's etcd, out of its package; nothing is installed on this host."""
    folder = tmp_path_factory.mktemp("etcd")
    sh("bash", "-c", 'cd "$1" && apt-get download etcd-server', "bash", str(folder), timeout=120)
    (package,) = folder.glob("etcd-server_*.deb")
    sh("dpkg-deb", "-x", str(package), str(folder / "tree"))
    (folder / "payload").mkdir()
    shutil.copy(folder / "tree/usr/bin/etcd", folder / "payload/etcd")
    return folder / "payload"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, etcd: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("small")
    roles = folder / "roles"
    shutil.copytree("cloud_configs", roles)
    role_file = roles / "small-cluster/role.yaml"
    # The one difference to the shipped role: the image has no etcd, so it comes as payload.
    role_file.write_text(
        role_file.read_text() + '\npayload:\n  - {path: etcd, dest: /opt/bin/etcd, mode: "0755"}\n'
    )
    options = ("--machines", "3", "--firmware", "mixed", "--role", "small-cluster", "--keep", "--timeout", "2400")
    lab = start(folder / "lab", *options, "--cloud-configs", str(roles), "--payload", str(etcd))
    try:
        yield lab
    finally:
        end(lab)


def _get(lab: Lab, url: str, *options: str) -> str:
    """What curl gets from within the appliance's namespace; empty while nothing answers."""
    (here,) = [one for one in record.labs() if one.owner == lab.process.pid]
    command = ["ip", "netns", "exec", here.namespaces[0], "curl", "-sS", "--max-time", "5", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout


def test_three_machines_form_one_healthy_etcd(lab: Lab) -> None:
    machines = lab.result(2400)
    assert [(m["ip"], m["state"], m.get("error", "")) for m in machines] == [
        (address, "active", "") for address in ADDRESSES
    ], lab.log()
    for address in ADDRESSES:
        until, said = time.monotonic() + 240, ""
        while '"health":"true"' not in (said := _get(lab, f"http://{address}:2379/health")):
            assert time.monotonic() < until, f"etcd on {address} is not healthy: {said}"
            time.sleep(1)
    listed = json.loads(_get(lab, f"http://{ADDRESSES[0]}:2379/v3/cluster/member/list", "-d", "{}"))
    assert sorted(member["name"] for member in listed["members"]) == ["node-01", "node-02", "node-03"]
    assert sorted(member["peerURLs"][0] for member in listed["members"]) == [
        f"http://{address}:2380" for address in ADDRESSES
    ]
    # bGFi is lab, eWVz is yes: written to the first, read from the third.
    _get(lab, f"http://{ADDRESSES[0]}:2379/v3/kv/put", "-d", '{"key": "bGFi", "value": "eWVz"}')
    read = json.loads(_get(lab, f"http://{ADDRESSES[2]}:2379/v3/kv/range", "-d", '{"key": "bGFi"}'))
    assert [pair["value"] for pair in read["kvs"]] == ["eWVz"]
