"""Keys on disk: what credentials are encrypted with, and what tokens are derived from."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from provisioner.domain.errors import Refused

TOKEN_KEY_BYTES = 32


class Keyring:
    """The keys of one appliance. Its repr shows none of them.

    ``credentials.keys`` holds Fernet keys, one a line: the first encrypts, all decrypt, so that a new key is
    put above the old ones. ``tokens.key`` holds 32 random bytes.
    """

    def __init__(self, fernet: MultiFernet, token_key: bytes) -> None:
        self._fernet = fernet
        self._token_key = token_key

    @classmethod
    def open(cls, folder: Path) -> "Keyring":
        """Read the keys under ``folder``; make folder (0700) and keys (0600) on first use.

        Raises Refused when others can read a key, or when a key file is damaged: a key made anew would lock
        out every stored credential without a word.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_open_doors(folder)
        lines = _read_or_make(folder / "credentials.keys", Fernet.generate_key() + b"\n")
        token_key = _read_or_make(folder / "tokens.key", secrets.token_bytes(TOKEN_KEY_BYTES))
        try:
            fernet = MultiFernet([Fernet(line) for line in lines.split()])
        except ValueError:
            raise Refused(f"{folder / 'credentials.keys'} is damaged", "restore it from a backup") from None
        if len(token_key) != TOKEN_KEY_BYTES:
            raise Refused(f"{folder / 'tokens.key'} is damaged", "restore it from a backup")
        return cls(fernet, token_key)

    @property
    def token_key(self) -> bytes:
        """What install and machine tokens are derived from."""
        return self._token_key

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        """Raises Refused when none of the keys made this token."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise Refused(
                "a stored credential was encrypted with a key that is not here",
                "restore credentials.keys from the backup of this database, or set the credential again",
            ) from None

    def __repr__(self) -> str:
        return "Keyring(***)"


def _read_or_make(path: Path, content: bytes) -> bytes:
    """The file's content. Two processes that start at once end up with the same key: linking is atomic."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink()
    _refuse_open_doors(path)
    return path.read_bytes()


def _refuse_open_doors(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        raise Refused(f"{path} can be read by other users", f"`chmod go= {path}`, and think about who has read it")
