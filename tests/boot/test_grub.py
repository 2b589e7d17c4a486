"""GRUB's configs: whole, without a token, and that no name, reason or argument can become a command."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.boot import grub
from provisioner.boot.compile import RoleCompiler
from provisioner.boot.release import kernel_line, netboot
from provisioner.boot.roles import RoleFolder
from provisioner.domain.boot import Action, BootPlan
from provisioner.domain.errors import Refused
from tests.boot.rack import SHIPPED, images, inventory, machine
from tests.boot.test_script import FLATCAR

BOOT = netboot(FLATCAR)
LINES = re.compile(
    r"echo 'Provisioner: [^']*'"
    r'|echo "Provisioner: [^"`]*"'
    r"|set (arch|cpu)=\S+|if \[ \"\$grub_cpu\" = arm64 \]; then set (arch|cpu)=\S+; fi"
    r"|smbios --type 1 --get-\S+ \d --set (uuid|serial)"
    r"|if regexp '\S+' \"\$serial\"; then true; else set serial=; fi"
    r"|for (try|loader) in [^;|&<>'\"]+; do|done|fi|boot|reboot|halt|exit 1|sleep \d+"
    r"|if (linux|initrd) \(tftp,@@SERVER@@\)/images/[^;&<>|`]*; then"
    r"|if linux \(tftp,@@SERVER@@\)/images/\S+( '[^']*'| \"[^\"`]*\"| [^\s;&<>|'\"`$]+)*; then"
    r"|if search --no-floppy --file --set=root \$loader; then|if chainloader \(\$root\)\$loader; then"
)
"""Every line that any config may have."""


def config(arguments: tuple[str, ...] = (), name: str = "node-1", role: str = "simple") -> str:
    line = kernel_line(BOOT, "cloud-config", arguments, autologin=False)
    return grub.install_config(name, role, BOOT, line)


def test_an_install_reads_by_tftp_and_names_a_config_without_a_token() -> None:
    text = config(("console=ttyS0,115200", "a=1;2"))
    base = "(tftp,@@SERVER@@)/images/flatcar/3815.2.0"
    assert (
        f"if linux {base}/flatcar_production_pxe.vmlinuz flatcar.first_boot=1 "
        '"cloud-config-url=http://@@SERVER@@/boot/pxe.yml'
        '?mac=${net_default_mac}&uuid=${uuid}&serial=${serial}&arch=${arch}" '
        "console=ttyS0,115200 'a=1;2'; then\n"
    ) in text
    assert f"if initrd {base}/flatcar_production_pxe_image.cpio.gz; then\n" in text
    assert "@@INSTALL_TOKEN@@" not in text
    assert text.endswith("sleep 10\nreboot\n")


def test_every_decision_ends_in_something_and_never_at_a_prompt() -> None:
    for action in Action:
        text = grub.config_for(BootPlan(action, "why"), b"x\nreboot\n").decode()
        assert text.splitlines()[-1] in ("reboot", "exit 1", "halt"), action


def test_a_line_that_gets_too_long_with_the_identity_is_refused() -> None:
    with pytest.raises(Refused, match="what GRUB adds"):
        config(("x=" + "y" * 1850,))


@settings(max_examples=200)
@given(reason=st.text(max_size=200), action=st.sampled_from([a for a in Action if a is not Action.INSTALL]))
def test_no_reason_becomes_a_command(reason: str, action: Action) -> None:
    text = grub.config_for(BootPlan(action, reason)).decode("ascii")
    assert [line for line in text.splitlines() if not LINES.fullmatch(line)] == []


@settings(max_examples=200)
@given(argument=st.text(min_size=1, max_size=40), name=st.text(max_size=60))
def test_no_argument_or_name_becomes_a_command(argument: str, name: str) -> None:
    try:
        text = config((argument,), name, name)
    except (ValueError, Refused):
        return
    assert [line for line in text.splitlines() if not LINES.fullmatch(line)] == []


@pytest.mark.parametrize(
    ("signed", "label", "told"), [(False, True, True), (True, True, False), (False, False, False)]
)
def test_an_unsigned_kernel_is_a_warning_for_a_machine_with_shim(signed: bool, label: bool, told: bool) -> None:
    compiler = RoleCompiler(RoleFolder(SHIPPED), images, signed=lambda *_: signed)
    here = machine(17, labels={"loader": "shimx64.efi"} if label else {})
    try:
        compiled = compiler.compile(here, inventory(here))
    finally:
        compiler.close()
    assert any("is not signed by Debian" in warning for warning in compiled.warnings) is told
    assert b"@@INSTALL_TOKEN@@" not in compiled.files["boot.grub"]
