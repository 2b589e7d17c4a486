"""When each version was last read through and found as imported. Kept beside the versions, which never change."""

import hashlib
import json
from pathlib import Path

from provisioner.images.intake import MANIFEST

_FOLDER = ".verified"


class Verified:
    """Times by image and version, bound to the manifest: a replaced version begins without one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def at(self, name: str, version: str) -> int | None:
        """UTC microseconds, or None: never, or not these bytes."""
        try:
            noted = json.loads(self._note(name, version).read_text())
            return int(noted["at"]) if noted["manifest"] == self._manifest(name, version) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def record(self, name: str, version: str, at: int) -> None:
        note = self._note(name, version)
        note.parent.mkdir(exist_ok=True)
        fresh = note.with_name(f"{note.name}.new")
        fresh.write_text(json.dumps({"manifest": self._manifest(name, version), "at": at}))
        fresh.rename(note)

    def forget(self, name: str, version: str) -> None:
        self._note(name, version).unlink(missing_ok=True)

    def _note(self, name: str, version: str) -> Path:
        # '@' is in no name, so two images never share a note.
        return self._root / _FOLDER / f"{name}@{version}"

    def _manifest(self, name: str, version: str) -> str:
        return hashlib.sha256((self._root / name / version / MANIFEST).read_bytes()).hexdigest()
