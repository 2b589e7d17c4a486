"""The kubeadm roles: what each machine is told of the others, its secrets, and scripts that survive a bad day."""

import os
import re
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from provisioner.domain.errors import Refused
from provisioner.domain.machine import Machine
from tests.boot.rack import machine
from tests.cloud_configs.shipped import cluster_of, compile_for, rendered, written

VARIANTS = ("", "-ignition", "-fcos")
FIRST = [f"control-plane-first{variant}" for variant in VARIANTS]
WORKERS = [f"worker{variant}" for variant in VARIANTS]


def _files(target: Machine, *others: Machine) -> dict[str, str]:
    return {file.path: file.text for file in written(compile_for(target, *others).files)}


def _documents(text: str) -> dict[str, Any]:
    return {document["kind"]: document for document in YAML(typ="safe").load_all(text)}


def _member(number: int, role: str, **params: Any) -> Machine:
    return machine(number, role, cluster="blue", params=params)


@pytest.mark.parametrize("role", FIRST)
def test_the_first_control_plane_is_told_all_that_kubeadm_init_needs(role: str) -> None:
    files = _files(_member(1, role, kubernetes_version="1.31.9"), _member(2, "control-plane-join"))
    told = _documents(files["/etc/provisioner/kubeadm.yaml"])
    assert {document["apiVersion"] for document in told.values()} == {
        "kubeadm.k8s.io/v1beta4",
        "kubeproxy.config.k8s.io/v1alpha1",
        "kubelet.config.k8s.io/v1beta1",
    }
    cluster = told["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.31.9"
    assert cluster["controlPlaneEndpoint"] == "10.12.1.100:6443"
    assert cluster["apiServer"]["certSANs"] == ["10.12.1.100", "10.12.1.1", "10.12.1.2"]
    assert "local" in cluster["etcd"]
    assert told["InitConfiguration"]["localAPIEndpoint"] == {"advertiseAddress": "10.12.1.1", "bindPort": 6443}
    assert told["KubeProxyConfiguration"]["mode"] == "ipvs"
    assert told["KubeletConfiguration"]["cgroupDriver"] == "systemd"


@pytest.mark.parametrize("role", WORKERS)
def test_a_worker_gets_the_authority_and_its_token_and_no_key_at_all(role: str) -> None:
    compiled = compile_for(_member(5, role, node_labels={"zone": "a"}), _member(1, "control-plane-first"))
    files = {file.path: file.text for file in written(compiled.files)}
    assert b"@@CLUSTER_KEY" not in b"".join(compiled.files.values())
    join = _documents(files["/etc/provisioner/kubeadm.yaml"])["JoinConfiguration"]
    assert join["discovery"]["tlsBootstrapToken"] == "@@JOIN_TOKEN@@"
    assert "controlPlane" not in join
    assert {"name": "node-labels", "value": "zone=a"} in join["nodeRegistration"]["kubeletExtraArgs"]
    found = YAML(typ="safe").load(files["/etc/provisioner/discovery.conf"])["clusters"][0]["cluster"]
    assert found["server"] == "https://10.12.1.100:6443"
    assert b64decode(found["certificate-authority-data"]).startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_control_plane_that_joins_has_the_clusters_keys_and_its_own_token() -> None:
    files = _files(_member(2, "control-plane-join"), _member(1, "control-plane-first"))
    join = _documents(files["/etc/provisioner/kubeadm.yaml"])["JoinConfiguration"]
    assert join["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "10.12.1.2"
    for name in ("ca", "front-proxy-ca", "etcd/ca", "sa"):
        assert files[f"/etc/provisioner/pki/{name}.key"].startswith("@@CLUSTER_KEY:")
    assert "/admin.conf" in files["/etc/provisioner/kube-vip.yaml"]


def test_a_worker_is_rendered_before_its_control_plane_exists_and_says_so() -> None:
    compiled = compile_for(_member(5, "worker-ignition"))
    assert compiled.warnings == (
        "cluster blue has no member with role control-plane-first-ignition yet; "
        "`provisioner machine set NAME --cluster blue --role control-plane-first-ignition`",
    )


def test_a_cluster_that_is_only_a_name_is_refused_but_for_the_plain_worker() -> None:
    for role in ("control-plane-first", "worker-fcos"):
        with pytest.raises(Refused, match="needs a cluster that is listed, and node1 is in green"):
            compile_for(machine(1, role, cluster="green"))
    files = _files(machine(1, "worker", cluster="green"))
    assert "/etc/worker/peers" in files
    assert "/etc/provisioner/kubeadm.yaml" not in files


def test_an_endpoint_of_a_machine_needs_nothing_that_moves_it() -> None:
    shared = _files(_member(1, "control-plane-first"))
    assert 'value: "10.12.1.100"' in shared["/etc/provisioner/kube-vip.yaml"]
    own = _files(_member(100, "control-plane-first"))
    assert "/etc/provisioner/kube-vip.yaml" not in own
    assert "kube-vip" not in own["/opt/kubernetes/run-kubeadm"]


def test_etcd_members_know_each_other_and_control_planes_use_them() -> None:
    etcd = [_member(at, "etcd-member-ignition" if at == 2 else "etcd-member") for at in (1, 2, 3)]
    first = _member(5, "control-plane-first")
    for at, member in enumerate(etcd, start=1):
        unit = _files(member, *(m for m in etcd if m is not member), first)["/etc/systemd/system/etcd.service"]
        assert f"Environment=ETCD_NAME=node{at}\n" in unit
        assert f"Environment=ETCD_LISTEN_PEER_URLS=https://10.12.1.{at}:2380\n" in unit
        everyone = {f"node{other}=https://10.12.1.{other}:2380" for other in (1, 2, 3)}
        line = next(line for line in unit.splitlines() if "INITIAL_CLUSTER=" in line)
        assert set(line.partition("CLUSTER=")[2].split(",")) == everyone
    files = _files(first, *etcd)
    external = _documents(files["/etc/provisioner/kubeadm.yaml"])["ClusterConfiguration"]["etcd"]["external"]
    assert set(external["endpoints"]) == {f"https://10.12.1.{at}:2379" for at in (1, 2, 3)}
    assert "certs apiserver-etcd-client" in files["/opt/kubernetes/run-kubeadm"]


def test_fedora_fetches_by_ignition_what_install_sh_cannot_reach() -> None:
    compiled = rendered("worker-fcos")[0]
    assert b"http://@@SERVER@@:8081/payload/kubernetes/kubeadm" in compiled.files["ignition.json"]
    assert b"payload_file kubernetes" not in compiled.files["install.sh"]
    assert b"payload_file kubernetes/kubeadm" in rendered("worker-ignition")[0].files["install.sh"]


def test_images_come_by_the_appliance_unless_another_mirror_is_named() -> None:
    path = "/etc/containerd/certs.d/_default/hosts.toml"
    assert '[host."http://@@SERVER@@:8081"]\n' in _files(_member(1, "control-plane-first"))[path]
    other = _files(_member(1, "control-plane-first", registry_mirror="http://mirror.example:5000"))
    assert '[host."http://mirror.example:5000"]\n' in other[path]


def test_flannel_is_given_the_pod_network_whatever_it_holds() -> None:
    first = _files(_member(1, "control-plane-first", pod_network='10.9.0.0/16"\n- x: {'))
    documents = list(YAML(typ="safe").load_all(first["/etc/provisioner/flannel.yaml"]))
    assert [document["kind"] for document in documents] == [
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "DaemonSet",
    ]
    assert YAML(typ="safe").load(documents[4]["data"]["net-conf.json"])["Network"] == '10.9.0.0/16"\n- x: {'


class Node:
    """The scripts of a role below a folder, with programs that only write down their calls."""

    def __init__(self, root: Path, role: str) -> None:
        self.root = root
        (root / "bin").mkdir()
        for path, text in _files(*cluster_of(role)).items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(re.sub(r"(?<![\w.-])/(?=(?:etc|opt|var)/)", f"{root}/", text))
            file.chmod(0o755)

    def program(self, name: str, body: str = "") -> None:
        file = self.root / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.root}/calls\n{body}\n')
        file.chmod(0o755)

    def run(self, path: str) -> int:
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "PROVISIONER_PAUSE": "0"}
        script = str(self.root / path.lstrip("/"))
        return subprocess.run(
            ["bash", script], env=environment, timeout=30, check=False, capture_output=True
        ).returncode

    def calls(self) -> list[str]:
        calls = (self.root / "calls").read_text().replace(str(self.root), "").splitlines()
        (self.root / "calls").unlink()
        return calls


def test_a_join_that_breaks_off_is_cleared_and_tried_again_and_once_done_never(tmp_path: Path) -> None:
    node = Node(tmp_path, "worker-ignition")
    left = f"mkdir -p {tmp_path}/etc/kubernetes; : >{tmp_path}/etc/kubernetes/kubelet.conf"
    node.program("kubeadm", f"case $1 in join) {left}; exit 1 ;; reset) rm -r {tmp_path}/etc/kubernetes ;; esac")
    assert node.run("/opt/kubernetes/run-kubeadm") == 1
    assert node.calls() == ["kubeadm join --config /etc/provisioner/kubeadm.yaml"]
    node.program("kubeadm", f"[ $1 = join ] || rm -r {tmp_path}/etc/kubernetes")
    assert node.run("/opt/kubernetes/run-kubeadm") == 0
    assert node.calls() == [
        "kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock",
        "kubeadm join --config /etc/provisioner/kubeadm.yaml",
    ]
    assert node.run("/opt/kubernetes/run-kubeadm") == 0
    assert not (tmp_path / "calls").exists()


def test_a_control_plane_whose_mark_was_lost_is_not_reset(tmp_path: Path) -> None:
    node = Node(tmp_path, "control-plane-first")
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/kubelet.conf").touch()
    node.program("kubectl")
    node.program("kubeadm")
    assert node.run("/opt/kubernetes/run-kubeadm") == 0
    assert node.calls() == ["kubectl get --raw /readyz"]


def test_keys_are_decoded_where_kubeadm_looks_and_nobody_else_reads_them(tmp_path: Path) -> None:
    node = Node(tmp_path, "control-plane-first")
    for file in (tmp_path / "etc/provisioner/pki").rglob("*.key"):
        file.write_text("a2V5Cg==\n")
    assert node.run("/opt/kubernetes/write-pki") == 0
    key = tmp_path / "etc/kubernetes/pki/etcd/ca.key"
    assert key.read_text() == "key\n"
    assert key.stat().st_mode & 0o777 == 0o600
    certificate = tmp_path / "etc/kubernetes/pki/ca.crt"
    assert certificate.read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert certificate.stat().st_mode & 0o777 == 0o644


def test_add_ons_go_in_order_each_until_it_is_done_and_not_again(tmp_path: Path) -> None:
    node = Node(tmp_path, "control-plane-first")
    up = tmp_path / "up"
    node.program("kubectl", f'case "$*" in *kube-flannel*) [ -e {up} ] || {{ : >{up}; exit 1; }} ;; esac')
    assert node.run("/opt/kubernetes/run-steps") == 0
    apply = "kubectl apply -f /etc/provisioner/flannel.yaml"
    wait = "kubectl --namespace kube-flannel rollout status daemonset/kube-flannel-ds --timeout=120s"
    dns = "kubectl --namespace kube-system rollout status deployment/coredns --timeout=120s"
    assert node.calls() == [apply, wait, apply, wait, dns]
    (tmp_path / "opt/kubernetes/dashboard.yaml").touch()
    (tmp_path / "var/lib/provisioner/steps/30-dashboard").unlink()
    assert node.run("/opt/kubernetes/run-steps") == 0
    assert node.calls() == ["kubectl apply -f /opt/kubernetes/dashboard.yaml"]


def test_only_tokens_that_the_cluster_does_not_have_are_made_valid(tmp_path: Path) -> None:
    node = Node(tmp_path, "control-plane-join")
    node.program("curl", "printf 'abcdef.0123456789abcdef node5\\nfedcba.0123456789abcdef node6\\n'")
    node.program("kubectl", 'case "$*" in *bootstrap-token-abcdef*) ;; *) exit 1 ;; esac')
    node.program("kubeadm")
    assert node.run("/opt/kubernetes/let-join") == 0
    assert node.calls()[-1] == "kubeadm token create fedcba.0123456789abcdef --ttl 2h --description node6"
