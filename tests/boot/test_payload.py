"""Payload without a publisher's digest, optional payload, and roles that a cluster should have."""

from pathlib import Path

import pytest

from provisioner.boot.compile import Compiled, RoleCompiler
from provisioner.boot.roles import RoleFolder
from provisioner.domain.errors import Refused
from tests.boot.rack import SHIPPED, images, inventory, machine

ROLE = """\
description: a test
image: flatcar
format: cloud-config
needs: [simple]
payload:
  - {path: k8s/kubelet, dest: /opt/bin/kubelet, mode: "0755"}
  - {path: k8s/images.tar, dest: /opt/images.tar, optional: true}
"""


class _Entry:
    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256


def _compiled(tmp_path: Path, there: dict[str, str], *others: str) -> Compiled:
    (tmp_path / "it").mkdir()
    (tmp_path / "it/role.yaml").write_text(ROLE)
    (tmp_path / "it/config.yml.j2").write_text("#cloud-config\nhostname: x\n")
    for name in ("_shared", "simple"):
        (tmp_path / name).symlink_to(SHIPPED / name)
    payload = {path: _Entry(digest) for path, digest in there.items()}
    made = RoleCompiler(RoleFolder(tmp_path), images, payload=lambda: payload)
    members = [
        machine(1, "it", cluster="blue"),
        *(machine(2 + at, role, cluster="blue") for at, role in enumerate(others)),
    ]
    try:
        return made.compile(members[0], inventory(*members))
    finally:
        made.close()


def test_the_digest_taken_when_a_file_was_added_is_frozen_into_the_install(tmp_path: Path) -> None:
    compiled = _compiled(tmp_path, {"k8s/kubelet": "a" * 64, "k8s/images.tar": "b" * 64}, "simple")
    script = compiled.files["install.sh"].decode()
    assert f"payload_file k8s/kubelet {'a' * 64} /opt/bin/kubelet 0755\n" in script
    assert f"payload_file k8s/images.tar {'b' * 64} /opt/images.tar 0644\n" in script
    assert compiled.warnings == ()


def test_missing_payload_refuses_the_install_with_the_command_that_adds_it(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        _compiled(tmp_path, {"k8s/images.tar": "b" * 64})
    assert refusal.value.problem == "role it installs payload k8s/kubelet, which is not there"
    assert refusal.value.remedy == "`provisioner payload add FILE --path k8s/kubelet`"


def test_what_is_optional_or_still_to_come_is_left_out_with_a_warning(tmp_path: Path) -> None:
    compiled = _compiled(tmp_path, {"k8s/kubelet": "a" * 64}, "worker")
    assert compiled.warnings == (
        "cluster blue has no member with role simple yet; "
        "`provisioner machine set NAME --cluster blue --role simple`",
        "optional payload is not there and left out: k8s/images.tar; "
        "`provisioner payload add FILE --path PATH` brings one",
    )
    assert b"k8s/images.tar" not in compiled.files["install.sh"]
