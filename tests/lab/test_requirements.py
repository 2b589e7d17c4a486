"""Without what the lab needs, it says exactly what is missing and where it comes from."""

import os
import shutil
import subprocess
import sys

import pytest

from provisioner.domain.errors import Refused
from provisioner.lab.acceleration import TCG, kvm_works, probe
from provisioner.lab.programs import check_requirements


def test_missing_programs_are_named_with_their_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused) as refused:
        check_requirements(uefi=True, further=[("nft", "nftables")])
    for program in ("qemu-system-x86_64", "qemu-img", "ipmi_sim", "ip", "nft"):
        assert f"program {program}" in refused.value.problem
    assert "iproute2 qemu-system-x86 qemu-utils openipmi nftables" in refused.value.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop it")
def test_without_root_the_refusal_says_so():
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            check_requirements(uefi=False)
        except Refused as refused:
            os._exit(0 if "root" in refused.problem else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_kvm_device_means_tcg_and_the_answer_is_kept(tmp_path):
    assert not kvm_works(tmp_path, device=tmp_path / "kvm")
    (tmp_path / "acceleration").write_text("tcg,thread=multi")
    assert probe(tmp_path) == TCG


@pytest.mark.parametrize(("script", "works"), [("sleep 60", False), ("exit 134", False), ("exit 33", True)])
@pytest.mark.system
def test_a_guest_that_hangs_or_crashes_means_no_kvm(tmp_path, script, works):
    fake = tmp_path / "qemu"
    fake.write_text(f"#!/bin/sh\nexec sh -c '{script}'\n")
    fake.chmod(0o755)
    assert kvm_works(tmp_path, str(fake), device=tmp_path) is works


_CHROOT = """
set -e
for each in /*; do
    if [ -L "$each" ]; then cp -P "$each" "$1$each"
    elif [ -d "$each" ]; then mkdir "$1$each"; mount --rbind "$each" "$1$each"; fi
done
root=$1
shift
exec chroot "$root" "$@"
"""


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("ipmi_sim"), reason="needs the lab's programs (.setup/apt-lab.txt)")
def test_in_a_chroot_whose_root_is_a_mere_folder_it_says_what_helps(tmp_path):
    code = "from provisioner.lab.programs import check_requirements; check_requirements(uefi=False)"
    here = [sys.executable, "-c", code]
    assert subprocess.run(here, timeout=60, check=False).returncode == 0
    inside = ["unshare", "--mount", "sh", "-c", _CHROOT, "sh", str(tmp_path), *here]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the lab needs a root that is a mount" in done.stderr
    assert "`mount --bind DIR DIR` before `chroot DIR`" in done.stderr
