"""Who signed a kernel, read from real programs of Debian's where they are installed."""

import os
import struct
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.images.beneath import Opened
from provisioner.images.signed import by_debian, signers
from provisioner.images.store import ImageStore

SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
GRUB = Path("/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed")
IPXE = Path("/boot/ipxe.efi")


def of(path: Path) -> tuple[tuple[str, ...], bool]:
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    with path.open("rb") as file:
        opened = Opened(file.fileno(), path.stat().st_size)
        return signers(opened), by_debian(opened)


def test_debians_grub_is_signed_by_debian_shim_by_microsoft_and_ipxe_by_nobody() -> None:
    names, debian = of(GRUB)
    assert debian, names
    names, debian = of(SHIM)
    assert not debian
    assert any(name.startswith("Microsoft") for name in names)
    assert of(IPXE) == ((), False)


def test_the_store_tells_of_its_kernels(tmp_path: Path) -> None:
    if not GRUB.exists():
        pytest.skip(f"{GRUB} is not installed")
    release = tmp_path / "release"
    release.mkdir()
    (release / "signed").write_bytes(GRUB.read_bytes())
    (release / "plain").write_bytes(b"MZ" + bytes(100))
    store = ImageStore(tmp_path / "images")
    store.import_dir(release, "os", "1")
    assert store.signed_by_debian("os", "1", "signed")
    assert not store.signed_by_debian("os", "1", "plain")


@settings(max_examples=100)
@given(data=st.binary(max_size=400), at=st.integers(0, 400), table=st.binary(max_size=60))
def test_rubbish_has_no_signer(data: bytes, at: int, table: bytes) -> None:
    head = bytearray(0x40 + 24 + 160)
    struct.pack_into("<I", head, 0x3C, 0x40)
    head[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<H", head, 0x40 + 24, 0x20B)
    struct.pack_into("<II", head, 0x40 + 24 + 144, len(head), at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in (data, bytes(head) + data, bytes(head) + struct.pack("<IHH", 60, 0x200, 2) + table):
            fd = os.memfd_create("pe")
            os.write(fd, content)
            assert signers(Opened(fd, len(content))) == ()
            os.close(fd)
