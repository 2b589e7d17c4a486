"""Detached OpenPGP signatures, checked by ``gpgv`` with the keys the operator gave and no others."""

import base64
import re
import subprocess
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from provisioner.domain.errors import InvalidValue, Refused

_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n]+\n)*?\s*\n(.*?)-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_SECONDS = 600
"""Hashing a few GB on a slow disk."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The publisher's public keys. ``fingerprints`` (hex) narrow them down to pinned ones."""

    path: Path
    fingerprints: Collection[str] = ()

    def check(self, file: Path, signature: Path) -> str:
        """The primary key's fingerprint that signed ``file``. Raises InvalidValue, Refused."""
        pinned = {fingerprint.replace(" ", "").upper() for fingerprint in self.fingerprints}
        with tempfile.NamedTemporaryFile(prefix="keyring-") as keys:
            keys.write(_binary(self.path))
            keys.flush()
            try:
                done = subprocess.run(
                    ["gpgv", "--status-fd", "1", "--keyring", keys.name, "--", str(signature), str(file)],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=_SECONDS,
                    check=False,
                )
            except FileNotFoundError as error:
                raise Refused("gpgv is not installed, no signature can be checked", "`apt install gpgv`") from error
            except subprocess.TimeoutExpired as error:
                raise Refused(
                    f"gpgv did not finish with {file.name} in {_SECONDS} s", "look at the disk, then try again"
                ) from error
        # VALIDSIG's last field is the primary key, whatever subkey signed (GnuPG doc/DETAILS).
        signers = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("[GNUPG:] VALIDSIG ")]
        if done.returncode or not signers:
            why = next(
                (line for line in done.stderr.splitlines() if "BAD" in line or "check" in line), "no good one"
            )
            raise InvalidValue(
                "file",
                file.name,
                f"is not signed by a key of {self.path.name} ({why.removeprefix('gpgv: ')})",
                "it is damaged, or not the publisher's, or their key has changed: compare the key's fingerprint",
            )
        if pinned and not pinned.intersection(signers):
            raise InvalidValue(
                "file",
                file.name,
                f"is signed by {signers[0]}, which is not the pinned key",
                f"pinned: {', '.join(sorted(pinned))}; correct images.sources or distrust the file",
            )
        return signers[0]


def _binary(path: Path) -> bytes:
    """Keys as gpgv reads them; publishers ship them ASCII-armoured (RFC 4880 §6.2)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidValue(
            "keyring", path, f"cannot be read ({error.strerror})", "name the file with the publisher's public key"
        ) from error
    if b"-----BEGIN PGP" not in data:
        return data
    blocks = _ARMOR.findall(data.replace(b"\r", b""))
    if not blocks:
        raise InvalidValue("keyring", path, "holds no public key block", "export it by `gpg --export --armor KEY`")
    # The line that begins with '=' is a checksum that RFC 9580 has dropped.
    return b"".join(
        base64.b64decode(b"".join(line for line in block.split(b"\n") if not line.startswith(b"=")))
        for block in blocks
    )
