"""iPXE scripts: what each decision gets, whole, and that no reason or name can become a command."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.boot import script
from provisioner.boot.release import FAMILIES, Release, kernel_line, netboot
from provisioner.domain.boot import Action, BootPlan
from provisioner.domain.errors import Refused

FLATCAR = Release(
    "flatcar",
    "3815.2.0",
    ("flatcar_production_pxe.vmlinuz", "flatcar_production_pxe_image.cpio.gz", "flatcar_production_image.bin.bz2"),
)
URL = "http://@@SERVER@@/b/@@INSTALL_TOKEN@@/pxe.yml"

COMMANDS = re.compile(
    r"#!ipxe"
    r"|:[a-z_]+"
    r"|echo Provisioner: (?:[ -~](?<![$\"'\\#|&{}]))*"
    r"|echo Provisioner: kernel or initrd could not be loaded \(try \$\{tries\} of 5\); again"
    r"|imgfree|boot \|\| goto retry|inc tries|set tries:int32 0|reboot|exit 1|sleep [0-9]+|goto (fetch|hold)"
    r"|iseq \$\{tries\} 5 && goto give_up \|\||iseq \$\{platform\} efi && goto efi \|\|"
    r"|(kernel|initrd) http://@@SERVER@@:8081/images/\S+( [^\s|&;$#]+)* \|\| goto retry"
    r"|sanboot --no-describe --drive 0x80 \|\| goto failed"
    r"|chain http://@@SERVER@@/loaders/localboot-x64\.efi \|\| goto failed"
    r"|poweroff \|\| goto hold"
    # What a newcomer says of itself: only settings, each spelt so that it cannot end the line.
    r"|chain http://@@SERVER@@/discovered\?([a-z0-9]+=\$\{[a-z0-9/]+(:hexhyp|:uristring)?\}&?)+ \|\|"
)
"""Every line that any script may have."""


def test_the_disk_script_boots_on_either_firmware() -> None:
    assert script.disk_script("active: boots its own disk") == (
        "#!ipxe\n"
        "echo Provisioner: active: boots its own disk\n"
        "imgfree\n"
        "iseq ${platform} efi && goto efi ||\n"
        "sanboot --no-describe --drive 0x80 || goto failed\n"
        ":efi\n"
        "chain http://@@SERVER@@/loaders/localboot-x64.efi || goto failed\n"
        ":failed\n"
        "echo Provisioner: the disk does not boot; the firmware goes on with its next entry\n"
        "echo Provisioner: in 10 seconds\n"
        "sleep 10\n"
        "exit 1\n"
    )


def test_the_kernel_line_names_the_initrd_for_uefi_and_the_config_for_coreos() -> None:
    line = kernel_line(netboot(FLATCAR), "cloud-config", ("console=tty0", "console=ttyS0,115200"), autologin=True)
    assert line == (
        "initrd=flatcar_production_pxe_image.cpio.gz flatcar.first_boot=1 flatcar.autologin "
        f"cloud-config-url={URL} console=tty0 console=ttyS0,115200"
    )
    assert "autologin" not in kernel_line(netboot(FLATCAR), "cloud-config", (), autologin=False)


def test_original_coreos_has_its_own_names() -> None:
    files = tuple(f"coreos_production_{rest}" for rest in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2"))
    line = kernel_line(netboot(Release("coreos", "1185.3.0", files)), "cloud-config", (), autologin=True)
    assert line.startswith("initrd=coreos_production_pxe_image.cpio.gz coreos.first_boot=1 coreos.autologin ")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ((), "has no kernel that can be netbooted"),
        (
            ("fedora-coreos-41.20250105.3.0-live-kernel.x86_64",),
            r"lacks …-live-initramfs\.x86_64\.img, …-live-rootfs",
        ),
        (
            (FAMILIES[0].example[0],),
            "lacks flatcar_production_pxe_image.cpio.gz, flatcar_production_image.bin.bz2",
        ),
    ],
)
def test_an_image_that_is_not_whole_is_refused(files: tuple[str, ...], says: str) -> None:
    with pytest.raises(Refused, match=says):
        netboot(Release("flatcar", "1", files))


def test_a_kernel_line_that_would_be_cut_off_is_refused() -> None:
    with pytest.raises(Refused, match="kernels take 2047"):
        kernel_line(netboot(FLATCAR), "cloud-config", ("a" * 2000,), autologin=False)


@pytest.mark.parametrize("kernel", ["live-kernel-x86_64", "live-kernel.x86_64"])
def test_fedora_coreos_fetches_its_root_and_its_ignition(kernel: str) -> None:
    prefix = "fedora-coreos-41.20250105.3.0-"
    files = tuple(prefix + rest for rest in (kernel, "live-initramfs.x86_64.img", "live-rootfs.x86_64.img"))
    boot = netboot(Release("fedora-coreos", "41.20250105.3.0", (*files, files[0] + ".sig")))
    line = kernel_line(boot, "butane", ("console=ttyS0",), autologin=True)
    assert boot.kernel == prefix + kernel
    assert line == (
        f"initrd={prefix}live-initramfs.x86_64.img coreos.live.rootfs_url=http://@@SERVER@@:8081/images/"
        f"fedora-coreos/41.20250105.3.0/{prefix}live-rootfs.x86_64.img ignition.firstboot "
        "ignition.platform.id=metal ignition.config.url=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/pxe.ign console=ttyS0"
    )
    with pytest.raises(Refused, match="Fedora CoreOS, which reads no cloud-config; use `format: butane`"):
        kernel_line(boot, "cloud-config", (), autologin=False)


def test_original_coreos_has_no_ignition_three() -> None:
    files = tuple(f"coreos_production_{rest}" for rest in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2"))
    with pytest.raises(Refused, match="reads no Ignition 3; use `format: cloud-config`"):
        kernel_line(netboot(Release("coreos", "1185.3.0", files)), "ignition", (), autologin=False)


def test_flatcar_takes_ignition_by_its_own_argument() -> None:
    line = kernel_line(netboot(FLATCAR), "ignition", (), autologin=False)
    assert line.endswith(" flatcar.first_boot=1 ignition.config.url=http://@@SERVER@@/b/@@INSTALL_TOKEN@@/pxe.ign")


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.INSTALL])
@given(reason=st.text(st.one_of(st.sampled_from("\n\r\0$|&;#\"'\\{}`"), st.characters()), max_size=300))
@pytest.mark.rule("threat-08")
def test_no_reason_can_become_a_command(action: Action, reason: str) -> None:
    served = script.script_for(BootPlan(action, reason)).decode()
    assert served.startswith("#!ipxe\n")
    for line in served.splitlines():
        assert COMMANDS.fullmatch(line), line
        assert not line.startswith("echo ") or len(line) <= len("echo ") + 79


def test_a_quarantined_machine_is_told_why_and_nothing_secret() -> None:
    served = script.script_for(BootPlan(Action.EXPLAIN, "serial A1 asked with the MAC of node2")).decode()
    assert "echo Provisioner: serial A1 asked with the MAC of node2\n" in served
    assert "@@" not in served


def test_an_install_gets_its_compiled_bytes_unchanged() -> None:
    assert script.script_for(BootPlan(Action.INSTALL, "armed"), b"#!ipxe\nfrozen\n") == b"#!ipxe\nfrozen\n"


def test_every_fetch_of_an_install_has_a_way_on_and_the_retries_end() -> None:
    line = kernel_line(netboot(FLATCAR), "cloud-config", ("console=tty0",), autologin=False)
    text = script.install_script("node1", "simple", netboot(FLATCAR), line)
    for command in text.splitlines():
        assert COMMANDS.fullmatch(command), command
    assert text.index("imgfree") < text.index("kernel ")
    assert text.endswith("sleep 10\nreboot\n")
