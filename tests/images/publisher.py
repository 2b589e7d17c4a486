"""A release as its publisher lays it out."""

import bz2
import gzip
import hashlib
import os
from pathlib import Path

KERNEL = "flatcar_production_pxe.vmlinuz"
INITRD = "flatcar_production_pxe_image.cpio.gz"
DISK = "flatcar_production_image.bin.bz2"


def flatcar(folder: Path, version: str = "3815.2.0", *, digests: bool = True, seed: bytes = b"") -> Path:
    """A small Flatcar release with real compression and, if wanted, real DIGESTS."""
    folder.mkdir(parents=True)
    for name, content in {
        KERNEL: b"kernel" + seed + os.urandom(60_000),
        INITRD: gzip.compress(os.urandom(50_000) + seed),
        DISK: bz2.compress(os.urandom(40_000) + seed),
        "version.txt": f"FLATCAR_BUILD=3815\nFLATCAR_VERSION={version}\n".encode(),
    }.items():
        (folder / name).write_bytes(content)
    if digests:
        for name in (KERNEL, INITRD, DISK):
            content = (folder / name).read_bytes()
            (folder / f"{name}.DIGESTS").write_text(
                f"# MD5 HASH\n{hashlib.md5(content).hexdigest()}  {name}\n"
                f"# SHA512 HASH\n{hashlib.sha512(content).hexdigest()}  {name}\n"
            )
    return folder
