"""Netboot images by family: what their files are called and what their kernels must be told."""

import re
from dataclasses import dataclass

from provisioner.boot.quoting import ipxe_argument
from provisioner.domain.errors import Refused
from provisioner.domain.tokens import INSTALL_TOKEN, SERVER

MAX_COMMAND_LINE = 2047
"""x86 kernels cut a longer line (COMMAND_LINE_SIZE 2048) without a word."""
IGNITION_FORMATS = ("ignition", "butane")


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a netboot image, with the names of its files."""

    image: str
    version: str
    files: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where its files are; the appliance's address is filled in when a script is served."""
        return f"http://{SERVER}:8081/images/{ipxe_argument(self.image)}/{ipxe_argument(self.version)}"


@dataclass(frozen=True, slots=True)
class Family:
    """A publisher's set. Patterns match whole file names; the third file is what the installer needs."""

    name: str
    kernel: re.Pattern[str]
    initrd: re.Pattern[str]
    source: re.Pattern[str]
    example: tuple[str, str, str]
    """Names of kernel, initrd and third file, for refusals and for trying a role without its image."""


def _production(name: str) -> Family:
    kernel, initrd, disk = (
        f"{name}_production_{rest}" for rest in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2")
    )
    return Family(
        name, re.compile(re.escape(kernel)), re.compile(re.escape(initrd)), re.compile(re.escape(disk)),
        (kernel, initrd, disk),
    )  # fmt: skip


FEDORA = Family(
    "fedora-coreos",
    # Releases before 2025 have a dash before the architecture.
    re.compile(r".+-live-kernel[-.]x86_64"),
    re.compile(r".+-live-initramfs\.x86_64\.img"),
    re.compile(r".+-live-rootfs\.x86_64\.img"),
    tuple(
        f"fedora-coreos-41.20250105.3.0-live-{rest}"
        for rest in ("kernel.x86_64", "initramfs.x86_64.img", "rootfs.x86_64.img")
    ),  # type: ignore[arg-type]
)
FAMILIES = (_production("flatcar"), _production("coreos"), FEDORA)


@dataclass(frozen=True, slots=True)
class Netboot:
    """The files of a release that a loader and a live system fetch."""

    family: Family
    release: Release
    kernel: str
    initrd: str
    source: str


def netboot(release: Release) -> Netboot:
    """Raises Refused, naming what the release lacks, or that it is of no family that is known."""
    for family in FAMILIES:
        kernel = _named(family.kernel, release)
        if not kernel:
            continue
        initrd, source = _named(family.initrd, release), _named(family.source, release)
        missing = [example for name, example in zip((initrd, source), family.example[1:], strict=True) if not name]
        if missing:
            # Fedora's names carry a version that only the publisher knows: show them as a pattern.
            shown = [re.sub(r".*-live-", "…-live-", name) for name in missing]
            raise Refused(
                f"image {release.image} {release.version} lacks {', '.join(shown)}",
                f"import it whole: `provisioner image import DIR --name {release.image}`",
            )
        return Netboot(family, release, kernel, initrd, source)
    kernels = ", ".join(re.sub(r".*-live-", "…-live-", family.example[0]) for family in FAMILIES)
    raise Refused(
        f"image {release.image} {release.version} has no kernel that can be netbooted",
        f"it needs one of: {kernels}",
    )


def kernel_line(boot: Netboot, config_format: str, arguments: tuple[str, ...], *, autologin: bool) -> str:
    """The kernel's command line. Raises Refused when family and format do not fit, or it gets too long."""
    family, base = boot.family.name, f"http://{SERVER}/b/{INSTALL_TOKEN}"
    ignition = config_format in IGNITION_FORMATS
    _refuse_misfit(boot, ignition)
    # Without initrd=NAME a UEFI kernel has no root; BIOS kernels don't mind (facts: UEFI and initrd).
    words = [f"initrd={boot.initrd}"]
    if boot.family is FEDORA:
        words += [
            f"coreos.live.rootfs_url={boot.release.url}/{boot.source}",
            "ignition.firstboot",
            "ignition.platform.id=metal",
        ]
    else:
        words += [f"{family}.first_boot=1", *((f"{family}.autologin",) if autologin else ())]
    words.append(f"ignition.config.url={base}/pxe.ign" if ignition else f"cloud-config-url={base}/pxe.yml")
    line = " ".join(ipxe_argument(word) for word in (*words, *arguments))
    if len(line) > MAX_COMMAND_LINE:
        raise Refused(
            f"the kernel line has {len(line)} characters, kernels take {MAX_COMMAND_LINE}",
            "shorten `kernel_arguments` in the role",
        )
    return line


def _refuse_misfit(boot: Netboot, ignition: bool) -> None:
    image = f"image {boot.release.image} {boot.release.version}"
    if boot.family is FEDORA and not ignition:
        raise Refused(f"{image} is Fedora CoreOS, which reads no cloud-config", "use `format: butane`")
    if boot.family.name == "coreos" and ignition:
        raise Refused(f"{image} is the original CoreOS, which reads no Ignition 3", "use `format: cloud-config`")


def _named(pattern: re.Pattern[str], release: Release) -> str:
    return next((name for name in release.files if pattern.fullmatch(name)), "")
