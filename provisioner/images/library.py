"""The store and its fetcher as the use cases see them (``domain.ports.ImageLibrary``)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from provisioner.images.fetch import Fetcher
from provisioner.images.store import Image, ImageStore


@dataclass(frozen=True, slots=True)
class Library:
    """Images at rest, and where new ones come from."""

    store: ImageStore
    fetcher: Fetcher

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

    def verify(self, name: str, version: str, progress: Callable[[int, int], None]) -> Sequence[str]:
        return self.store.verify(name, version, progress)

    def remove(self, name: str, version: str) -> None:
        self.store.remove(name, version)
