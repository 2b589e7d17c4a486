"""Where files are put for an import that is asked for over the API: one folder of the appliance, and no other.

Whoever may ask names something in it; a path elsewhere would publish any file of the host on the images port.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.domain.errors import InvalidValue, NotFound
from provisioner.images.bundle import is_bundle
from provisioner.images.intake import NAME
from provisioner.images.shipping import Warehouse
from provisioner.images.store import Progress


@dataclass(frozen=True, slots=True)
class Arrivals:
    """``folder``: made when missing. ``trusted``: fingerprints whose bundles are taken without asking."""

    folder: Path
    warehouse: Warehouse
    trusted: Sequence[str] = ()

    def find(self, source: str) -> Path:
        """A release's folder or a bundle. Raises InvalidValue, NotFound."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not NAME.match(source):
            raise InvalidValue(
                "source", source, "is no name in the folder for imports", "name a folder or bundle in it"
            )
        found = self.folder / source
        if found.is_symlink() or not (found.is_dir() or is_bundle(found)):
            there = sorted(entry.name for entry in self.folder.iterdir() if NAME.match(entry.name))
            shown = ", ".join(there) or "nothing yet"
            raise NotFound(
                "source", source, f"copy a release's folder or a bundle into {self.folder}; there is: {shown}"
            )
        return found

    def take(
        self, source: str, *, name: str, version: str, trust: Sequence[str], progress: Progress
    ) -> tuple[str, str]:
        """Import it; the source stays. Returns what was imported, and what to say. Raises Refused."""
        path = self.find(source)
        if path.is_file():
            taken = self.warehouse.take_in(path, (*self.trusted, *trust), progress)
            return source, f"bundle {source} imported, {_listed(taken.added)} added, signed by {taken.signer}"
        if not name:
            raise InvalidValue("name", "", "is missing", "say what roles call the image")
        image = self.warehouse.images.import_dir(path, name, version or None, progress)
        state = "complete" if image.complete else "; ".join(image.problems)
        return f"{name} {image.version}", f"image {name} {image.version} imported: {state}"


def _listed(what: Sequence[str]) -> str:
    return ", ".join(what[:5]) + (f" and {len(what) - 5} more" if len(what) > 5 else "") if what else "nothing new"
