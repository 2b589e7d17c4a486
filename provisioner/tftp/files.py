"""What may be read over TFTP: files beneath one root, and content made on the fly."""

from collections.abc import Callable
from dataclasses import dataclass

from provisioner.domain.machine import IPAddress
from provisioner.images.beneath import Opened, Root

Virtual = Callable[[str, IPAddress], bytes | None]
"""Content for a name and a client's address, or None: then the files are asked."""


@dataclass(frozen=True, slots=True)
class Made:
    """Content that is in no file."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def close(self) -> None:
        """Memory only, nothing to give back."""


class Files:
    """Opens what a client asks for."""

    def __init__(self, root: Root, virtual: Virtual | None = None) -> None:
        self._root = root
        self._virtual = virtual

    def open(self, name: str, client: IPAddress) -> Opened | Made:
        """Raises images.beneath.Forbidden or Missing. The caller closes what it gets."""
        if self._virtual is not None and (content := self._virtual(name, client)) is not None:
            return Made(content)
        return self._root.open(name)

    def close(self) -> None:
        self._root.close()
