"""What may be read over TFTP: files beneath one root, and content made on the fly."""

from collections.abc import Callable
from dataclasses import dataclass

from provisioner.domain.machine import IPAddress
from provisioner.images.beneath import Opened, Root

Virtual = Callable[[str, IPAddress, IPAddress], bytes | str | Opened | None]
"""For a name, a client's address and ours that it contacted: content, an open file, another name, or
None: the name as it is."""


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

    def open(self, name: str, client: IPAddress, server: IPAddress) -> Opened | Made:
        """Raises images.beneath.Forbidden or Missing. The caller closes what it gets."""
        content = self._virtual(name, client, server) if self._virtual is not None else None
        if isinstance(content, bytes):
            return Made(content)
        if isinstance(content, Opened):
            return content
        return self._root.open(name if content is None else content)

    def close(self) -> None:
        self._root.close()
