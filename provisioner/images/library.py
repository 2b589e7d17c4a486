"""The store and its fetcher as the use cases see them (``domain.image_library.ImageLibrary``)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from provisioner.domain.errors import Refused
from provisioner.images.arrivals import Arrivals
from provisioner.images.fetch import Fetcher
from provisioner.images.store import Image, ImageStore


@dataclass(frozen=True, slots=True)
class Library:
    """Images at rest, and where new ones come from."""

    store: ImageStore
    fetcher: Fetcher
    arrivals: Arrivals | None = None

    def versions(self, name: str) -> Sequence[str]:
        return self.store.versions(name)

    def get(self, name: str, version: str | None = None) -> Image:
        return self.store.get(name, version)

    def fetch(
        self,
        publisher: str,
        *,
        name: str,
        stream: str,
        version: str,
        arch: str,
        progress: Callable[[int, int], None],
    ) -> Image:
        return self.fetcher.fetch(
            publisher, name=name, stream=stream, version=version, arch=arch, progress=progress
        )

    def bring_in(
        self, source: str, *, name: str, version: str, trust: Sequence[str], progress: Callable[[int, int], None]
    ) -> tuple[str, str]:
        return self._arrivals.take(source, name=name, version=version, trust=trust, progress=progress)

    def expect(self, source: str) -> None:
        self._arrivals.find(source)

    @property
    def _arrivals(self) -> Arrivals:
        if self.arrivals is None:
            raise Refused("there is no folder for imports here", "use `provisioner image import` on the appliance")
        return self.arrivals

    def verify(self, name: str, version: str, progress: Callable[[int, int], None]) -> Sequence[str]:
        return self.store.verify(name, version, progress)

    def remove(self, name: str, version: str) -> None:
        self.store.remove(name, version)
