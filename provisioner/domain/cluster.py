"""A cluster: what its machines share beside each other's addresses."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines belong to it by their slot's ``cluster``, which is this name."""

    id: UUID
    name: str
    """Unique; an RFC 1123 label, lower case."""
    endpoint: str = ""
    """Where its service answers: HOST, HOST:PORT or a URL of both; empty: not known."""
    version: int = 0
    """Counts edits; the ETag of the API."""
