"""Netboot images by family: what their files are called and what their kernels must be told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from provisioner.boot.quoting import ipxe_argument
from provisioner.boot.role_file import BootFiles
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
    """A publisher's set, by patterns that match whole file names. ``media``: a third file that is needed."""

    name: str
    kernel: re.Pattern[str]
    initrd: re.Pattern[str]
    media: re.Pattern[str] | None
    example: tuple[str, ...]
    """Names of kernel, initrd and third file, for refusals and for trying a role without its image."""


def _production(name: str) -> Family:
    names = tuple(f"{name}_production_{rest}" for rest in ("pxe.vmlinuz", "pxe_image.cpio.gz", "image.bin.bz2"))
    kernel, initrd, disk = (re.compile(re.escape(file)) for file in names)
    return Family(name, kernel, initrd, disk, names)


FEDORA = Family(
    "fedora-coreos",
    # Releases before 2025 have a dash before the architecture.
    re.compile(r".+-live-kernel[-.]x86_64"),
    re.compile(r".+-live-initramfs\.x86_64\.img"),
    re.compile(r".+-live-rootfs\.x86_64\.img"),
    tuple(
        f"fedora-coreos-41.20250105.3.0-live-{rest}"
        for rest in ("kernel.x86_64", "initramfs.x86_64.img", "rootfs.x86_64.img")
    ),
)
FAMILIES = (_production("flatcar"), _production("coreos"), FEDORA)
INSTALLERS = {
    "preseed": Family("debian", re.compile("linux"), re.compile(r"initrd\.gz"), None, ("linux", "initrd.gz")),
    "autoinstall": Family(
        "ubuntu",
        re.compile("vmlinuz"),
        re.compile("initrd"),
        re.compile(r".+\.iso"),
        ("vmlinuz", "initrd", "ubuntu-24.04-live-server-amd64.iso"),
    ),
    "talos": Family(
        "talos",
        re.compile(r"(vmlinuz|kernel)-amd64"),
        re.compile(r"initramfs-amd64\.xz"),
        None,
        ("vmlinuz-amd64", "initramfs-amd64.xz"),
    ),
}
"""By a role's format."""


@dataclass(frozen=True, slots=True)
class Netboot:
    """The files of a release that a loader and a live system fetch. ``family`` None: the role names them."""

    family: Family | None
    release: Release
    kernel: str
    initrds: tuple[str, ...]
    media: str

    @property
    def system(self) -> str:
        """The family's name, for templates."""
        return self.family.name if self.family else ""


def families(config_format: str) -> tuple[Family, ...]:
    """What an image of a role in this format may be."""
    return (INSTALLERS[config_format],) if config_format in INSTALLERS else FAMILIES


def netboot(release: Release, config_format: str = "cloud-config", named: BootFiles | None = None) -> Netboot:
    """Raises Refused, naming what the release lacks, or that it is of no family that is known."""
    if named is not None:
        kernel, media = _only(named.kernel, release), _only(named.media, release) if named.media else ""
        return Netboot(None, release, kernel, tuple(_only(name, release) for name in named.initrd), media)
    known = families(config_format)
    for family in known:
        if kernel := _named(family.kernel, release):
            return _of_family(family, release, kernel)
    raise Refused(
        f"image {release.image} {release.version} has no kernel that can be netbooted",
        f"it needs one of: {', '.join(_shown(family.example[0]) for family in known)}; or name its files in the "
        "role: `boot:` with kernel and initrd",
    )


def _of_family(family: Family, release: Release, kernel: str) -> Netboot:
    patterns = (family.initrd, family.media) if family.media else (family.initrd,)
    found = [_named(pattern, release) for pattern in patterns]
    if missing := [_shown(file) for name, file in zip(found, family.example[1:], strict=True) if not name]:
        raise Refused(
            f"image {release.image} {release.version} lacks {', '.join(missing)}",
            f"import it whole: `provisioner image import DIR --name {release.image}`",
        )
    return Netboot(family, release, kernel, (found[0],), found[1] if family.media else "")


def kernel_line(boot: Netboot, config_format: str, arguments: Sequence[str], *, autologin: bool) -> str:
    """The kernel's command line. Raises Refused when family and format do not fit, or it gets too long."""
    _refuse_misfit(boot, config_format)
    # Without initrd=NAME a UEFI kernel has no root; BIOS kernels don't mind (facts: UEFI and initrd).
    words = [f"initrd={name}" for name in boot.initrds]
    words += _of_system(boot, autologin=autologin) + _of_format(config_format)
    line = " ".join(ipxe_argument(word) for word in (*words, *arguments))
    if len(line) > MAX_COMMAND_LINE:
        raise Refused(
            f"the kernel line has {len(line)} characters, kernels take {MAX_COMMAND_LINE}",
            "shorten `kernel_arguments` in the role",
        )
    return line


def _of_system(boot: Netboot, *, autologin: bool) -> list[str]:
    """What the live system of a family needs, whatever it is to do."""
    if boot.family is FEDORA:
        rootfs = f"coreos.live.rootfs_url={boot.release.url}/{boot.media}"
        return [rootfs, "ignition.firstboot", "ignition.platform.id=metal"]
    if boot.family in FAMILIES:
        name = boot.system
        return [f"{name}.first_boot=1", *((f"{name}.autologin",) if autologin else ())]
    return []


def _of_format(config_format: str) -> list[str]:
    """Where the live system or installer finds its configuration."""
    base = f"http://{SERVER}/b/{INSTALL_TOKEN}"
    match config_format:
        case "cloud-config":
            return [f"cloud-config-url={base}/pxe.yml"]
        case "ignition" | "butane":
            return [f"ignition.config.url={base}/pxe.ign"]
        case "preseed":
            return ["auto=true", "priority=critical", f"url={base}/preseed.cfg"]
        case "autoinstall":
            # Without the second, cloud-init takes the installer's url= (an ISO) for a cloud-config.
            return ["autoinstall", "cloud-config-url=/dev/null", f"ds=nocloud-net;s={base}/"]
        case "talos":
            return ["talos.platform=metal", f"talos.config={base}/talos.yaml"]
        case _:
            return []


def _refuse_misfit(boot: Netboot, config_format: str) -> None:
    image = f"image {boot.release.image} {boot.release.version}"
    if boot.family is FEDORA and config_format == "cloud-config":
        raise Refused(f"{image} is Fedora CoreOS, which reads no cloud-config", "use `format: butane`")
    if boot.system == "coreos" and config_format in IGNITION_FORMATS:
        raise Refused(f"{image} is the original CoreOS, which reads no Ignition 3", "use `format: cloud-config`")


def _named(pattern: re.Pattern[str], release: Release) -> str:
    return next((name for name in release.files if pattern.fullmatch(name)), "")


def _only(glob: str, release: Release) -> str:
    """The one file of the release that fits. Raises Refused."""
    found = [name for name in release.files if fnmatchcase(name, glob)]
    if len(found) == 1:
        return found[0]
    fault = f"has several files {glob}: {', '.join(found)}" if found else f"has no file {glob}"
    raise Refused(
        f"image {release.image} {release.version} {fault}",
        "correct `boot:` in the role, or import the image whole",
    )


def _shown(example: str) -> str:
    """Fedora's names carry a version that only the publisher knows: a pattern."""
    return re.sub(r"fedora-coreos-.*-live-", "…-live-", example)
