"""Yoo-Installer's six roles: who is told which addresses, all of them out of the inventory."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from provisioner.boot.document import InvalidDocument
from provisioner.boot.render import TemplateRefused
from tests.boot.rack import machine
from tests.cloud_configs.shipped import cluster_of, compile_for, config, rendered, written


def _etcd(data: Any) -> dict[str, Any]:
    return dict(data["coreos"]["etcd2"])


def _files(role: str, params: dict[str, Any] | None = None) -> dict[str, str]:
    members = cluster_of(role, params=params)
    return {file.path: file.text for file in written(compile_for(*members).files)}


@pytest.mark.parametrize("role", ["small-cluster", "production-central"])
def test_every_member_of_etcd_names_the_same_members_and_its_own_address(role: str) -> None:
    sections = [_etcd(config(role, at)) for at in range(3)]
    everyone = "node1=http://10.12.1.1:2380,node2=http://10.12.1.2:2380,node3=http://10.12.1.3:2380"
    assert {section["initial_cluster"] for section in sections} == {everyone}
    assert [section["name"] for section in sections] == ["node1", "node2", "node3"]
    assert [section["initial_advertise_peer_urls"] for section in sections] == [
        f"http://10.12.1.{at}:2380" for at in (1, 2, 3)
    ]
    assert {section["initial_cluster_state"] for section in sections} == {"new"}


def test_a_machine_of_another_cluster_is_no_member() -> None:
    members = cluster_of("small-cluster")
    compiled = compile_for(*members, machine(9, "small-cluster", cluster="green"))
    assert b"10.12.1.9" not in b"".join(compiled.files.values())


def test_a_machine_that_joins_a_running_etcd_says_so() -> None:
    members = cluster_of("small-cluster", params={"cluster_state": "existing"})
    data = YAML(typ="safe").load(compile_for(*members).files["config.yml"].decode())
    assert _etcd(data)["initial_cluster_state"] == "existing"


def test_fleet_is_told_the_rack_as_cabinet_beside_what_the_operator_says() -> None:
    one = machine(1, "small-cluster", cluster="blue", params={"fleet_metadata": {"disk": "ssd", "region": "x"}})
    data = YAML(typ="safe").load(compile_for(one).files["config.yml"].decode())
    assert data["coreos"]["fleet"]["metadata"] == "disk=ssd,region=x"
    assert data["coreos"]["fleet"]["public_ip"] == "10.12.1.1"


def test_development_workers_lean_on_the_one_etcd_and_run_none() -> None:
    etcd = _etcd(config("develop-etcd"))
    assert etcd["initial_cluster"] == "node1=http://10.12.1.1:2380"
    worker = config("develop-worker")
    assert worker["coreos"]["fleet"]["etcd_servers"] == "http://10.12.1.10:4001"
    units = {unit["name"]: unit for unit in worker["coreos"]["units"]}
    assert units["etcd2.service"]["mask"] is True
    assert _files("develop-worker")["/etc/profile.d/etcdctl.sh"] == "export ETCDCTL_PEERS=http://10.12.1.10:4001\n"


def test_a_worker_without_what_it_leans_on_is_refused_by_the_missing_role() -> None:
    with pytest.raises(TemplateRefused, match="no member with role 'develop-etcd'"):
        compile_for(machine(1, "develop-worker", cluster="blue"))


def test_production_starts_what_the_original_starts() -> None:
    def started(role: str) -> list[str]:
        return [unit["name"] for unit in config(role)["coreos"]["units"] if unit.get("command") == "start"]

    shared = {
        "etcd2.service",
        "fleet.service",
        "flanneld.service",
        "docker.service",
        "setup-network-environment.service",
    }
    reported = {"provisioner-active.service"}
    assert set(started("production-central")) == shared | reported | {
        f"kube-{part}.service" for part in ("apiserver", "controller-manager", "scheduler", "register")
    }
    assert set(started("production-worker")) == shared | reported | {"kube-kubelet.service", "kube-proxy.service"}


def test_production_workers_use_all_central_machines_for_etcd_and_the_first_for_its_api() -> None:
    worker = machine(5, "production-worker", cluster="blue")
    central = [machine(at, "production-central", cluster="blue") for at in (7, 6)]
    compiled = compile_for(worker, *central)
    data = YAML(typ="safe").load(compiled.files["config.yml"].decode())
    assert _etcd(data)["initial_cluster"] == "node6=http://10.12.1.6:2380,node7=http://10.12.1.7:2380"
    assert _etcd(data)["proxy"] == "on"
    assert data["coreos"]["locksmith"]["endpoint"] == "http://10.12.1.6:2379,http://10.12.1.7:2379"
    kubelet = next(file.text for file in written(compiled.files) if file.path.endswith("kube-kubelet.service"))
    assert "--api-servers=10.12.1.6:8080" in kubelet


def test_only_several_central_machines_elect_a_leader() -> None:
    several = {file.path: file.text for file in written(rendered("production-central")[0].files)}
    alone = {
        file.path: file.text
        for file in written(compile_for(machine(1, "production-central", cluster="blue")).files)
    }
    scheduler = "/etc/systemd/system/kube-scheduler.service"
    assert "--leader-elect" in several[scheduler]
    assert "--leader-elect" not in alone[scheduler]


def test_docker_pulls_through_the_appliance_unless_another_mirror_or_none_is_named() -> None:
    assert _files("production-worker")["/etc/provisioner/docker.env"] == (
        "DOCKER_OPTS=--registry-mirror=http://@@SERVER@@:8081\n"
    )
    other = _files("production-worker", {"registry_mirror": "http://mirror.example:5000"})
    assert other["/etc/provisioner/docker.env"] == "DOCKER_OPTS=--registry-mirror=http://mirror.example:5000\n"
    none = _files("production-worker", {"registry_mirror": "none"})
    assert not [path for path in none if "docker" in path and "mirror" in path]


def test_the_update_engine_gets_its_proxy_only_where_one_is_set() -> None:
    assert not [path for path in _files("production-central") if "update-engine" in path]
    files = _files("production-central", {"update_proxy": "socks5://proxy.example:8080"})
    assert files["/etc/provisioner/update-engine.env"] == "ALL_PROXY=socks5://proxy.example:8080\n"


def test_flannels_network_is_json_whatever_it_holds() -> None:
    files = _files("production-central", {"pod_network": '10.1.0.0/16", "x": "'})
    network = json.loads(files["/etc/provisioner/flannel.json"])
    assert network == {"Network": '10.1.0.0/16", "x": "', "Backend": {"Type": "vxlan"}}


def test_production_machines_have_one_address_and_their_subnets_resolvers() -> None:
    files = _files("production-worker")
    assert "Address=10.12.1.1/24\n" in files["/etc/systemd/network/00-provisioner.network"]
    assert "DHCP=no" in files["/etc/systemd/network/20-unused.network"]
    assert files["/etc/resolv.conf"] == "search rack.example\nnameserver 10.12.1.253\nnameserver 10.12.1.252\n"
    assert "PermitRootLogin no\n" in files["/etc/ssh/sshd_config"]


@pytest.mark.system
def test_the_network_environment_is_written_as_units_read_it(tmp_path: Path) -> None:
    script = _files("production-worker")["/opt/bin/setup-network-environment"]
    file = tmp_path / "network-environment"
    subprocess.run(["bash", "-c", script.replace("/etc/network-environment", str(file))], timeout=20, check=True)
    lines = file.read_text().splitlines()
    assert lines[0] == "DEFAULT_IPV4=10.12.1.1"
    assert "LO_IPV4=127.0.0.1" in lines


def test_a_fleet_value_that_would_add_lines_to_a_drop_in_is_refused() -> None:
    hostile = {"fleet_metadata": {"role": 'x"\nExecStart=/bin/false'}}
    with pytest.raises(InvalidDocument, match=r"config.yml:17: coreos.fleet.metadata: .* must be one line"):
        compile_for(machine(1, "small-cluster", cluster="blue", params=hostile))
