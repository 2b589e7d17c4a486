"""Images as the use cases need them: the port that the images room implements."""

from collections.abc import Callable, Sequence
from typing import Protocol


class NamedImage(Protocol):
    """One version of an image."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


class ImageLibrary(Protocol):
    """Images at rest, and where new ones come from. ``progress`` gets bytes done and bytes in all."""

    def versions(self, name: str) -> Sequence[str]:
        """Oldest first; empty: no such image."""
        ...

    def get(self, name: str, version: str | None = None) -> NamedImage:
        """The newest by default. Raises NotFound."""
        ...

    def fetch(
        self,
        publisher: str,
        *,
        name: str,
        stream: str,
        version: str,
        arch: str,
        progress: Callable[[int, int], None],
    ) -> NamedImage:
        """From its publisher, proven before it is listed. Raises Refused; another call goes on from there."""
        ...

    def expect(self, source: str) -> None:
        """Is this in the folder for imports? Raises NotFound, InvalidValue."""
        ...

    def bring_in(
        self, source: str, *, name: str, version: str, trust: Sequence[str], progress: Callable[[int, int], None]
    ) -> tuple[str, str]:
        """Import a release's folder or a bundle. Returns what it was and what came of it. Raises Refused."""
        ...

    def verify(self, name: str, version: str, progress: Callable[[int, int], None]) -> Sequence[str]:
        """Read every byte; what is wrong, in words."""
        ...

    def remove(self, name: str, version: str) -> None: ...
