"""A cluster's authorities: the same again from the same key, taken by openssl, keys only where they belong."""

import subprocess
from base64 import b64decode
from pathlib import Path
from uuid import UUID

import pytest

from provisioner.boot import pki
from provisioner.boot.compile import Compiled, RoleCompiler
from provisioner.boot.roles import RoleFolder
from provisioner.domain.cluster import Cluster
from provisioner.domain.errors import Refused
from provisioner.domain.inventory import Inventory
from provisioner.domain.tokens import fill, join_token
from tests.boot.rack import SHIPPED, SUBNET, images, machine

BLUE, GREEN = UUID(int=7), UUID(int=8)
KEY = b"k" * 32


def test_the_same_key_gives_the_same_authorities_and_another_cluster_has_others() -> None:
    pki.public.cache_clear()
    first = dict(pki.public(KEY, BLUE))
    pki.public.cache_clear()
    assert pki.public(KEY, BLUE) == first
    others = {*pki.public(KEY, GREEN).values(), *pki.public(b"j" * 32, BLUE).values()}
    assert not others & set(first.values())
    keys = {pki.secret(KEY, cluster, name) for cluster in (BLUE, GREEN) for name in (*pki.KEYS, "joining")}
    assert len(keys) == 2 * 5


def test_openssl_verifies_what_an_authority_signs(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b64decode(pki.public(KEY, BLUE)["ca_crt"]))
    (tmp_path / "ca.key").write_bytes(b64decode(pki.secret(KEY, BLUE, "ca")))
    script = """
        openssl req -newkey ed25519 -nodes -keyout a.key -out a.csr -subj /CN=node -batch
        openssl x509 -req -in a.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out a.crt -days 1
        openssl verify -x509_strict -CAfile ca.crt a.crt
        openssl verify -CAfile ca.crt ca.crt
        openssl x509 -in ca.crt -noout -subject"""
    command = ["bash", "-ec", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a.crt: OK", "ca.crt: OK", "subject=CN = kubernetes-ca"]


def test_a_join_token_has_kubeadms_form_and_is_each_installs_own() -> None:
    tokens = {join_token(KEY, UUID(int=number)) for number in range(50)}
    assert len(tokens) == 50
    for token in tokens:
        assert len(token) == 23
        assert token[6] == "."
        assert token.replace(".", "").isalnum()
        assert token == token.lower()


def _compiled(tmp_path: Path, trust: str, content: str, *, listed: bool = True) -> Compiled:
    (tmp_path / "it").mkdir()
    role = f"description: x\nimage: flatcar\nformat: cloud-config\ntrust: {trust}\n"
    (tmp_path / "it/role.yaml").write_text(role)
    (tmp_path / "it/config.yml.j2").write_text(
        f"#cloud-config\nwrite_files: [{{path: /a, content: '{content}'}}]\n"
    )
    (tmp_path / "_shared").symlink_to(SHIPPED / "_shared")
    node = machine(1, "it", cluster="blue")
    clusters = [Cluster(BLUE, "blue", "10.12.1.100:6443")] if listed else []
    made = RoleCompiler(RoleFolder(tmp_path), images, key=KEY)
    try:
        return made.compile(node, Inventory.build([node], [SUBNET], clusters=clusters))
    finally:
        made.close()


def test_a_key_is_a_placeholder_until_it_is_served(tmp_path: Path) -> None:
    content = "{{ cluster.pki.ca_key }} {{ cluster.join_token }} {{ cluster.joining_url }}"
    config = _compiled(tmp_path, "keys", content).files["config.yml"]
    assert f"@@CLUSTER_KEY:ca:{BLUE}@@ @@JOIN_TOKEN@@ " in config.decode()
    served = fill(
        config,
        install_token="i",
        machine_token="m",
        server="10.12.1.1",
        join_token="abcdef.0123456789abcdef",
        cluster_keys=lambda name, cluster: pki.secret(KEY, cluster, name),
    ).decode()
    assert "@@" not in served
    assert f"'{pki.secret(KEY, BLUE, 'ca')} abcdef.0123456789abcdef http://10.12.1.1/m/m/joining/" in served


def test_a_member_is_given_certificates_and_no_key(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="'ca_key' is not defined"):
        _compiled(tmp_path, "member", "{{ cluster.pki.ca_key }}")


def test_a_key_that_a_template_spells_by_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"role it writes a key of its cluster into config\.yml"):
        _compiled(tmp_path, "member", f"@@CLUSTER_KEY:ca:{BLUE}@@")


def test_trust_needs_a_listed_cluster_and_says_how_to_list_it(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        _compiled(tmp_path, "member", "x", listed=False)
    assert refusal.value.problem == "role it needs a cluster that is listed, and node1 is in blue"
    assert "`provisioner cluster add blue --endpoint ADDRESS:6443`" in refusal.value.remedy
