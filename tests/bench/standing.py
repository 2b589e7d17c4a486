"""A snapshot that stands still, with nobody who listens: for measuring what is decided from it."""

from dataclasses import dataclass
from typing import Any

from provisioner.actions.front import Front
from provisioner.domain.inventory import Inventory


@dataclass(frozen=True)
class Standing:
    inventory: Inventory

    def front(self, key: bytes) -> Front:
        """Reads need no store and no journal; a write would fail loudly."""
        nothing: Any = None
        return Front(nothing, self, _Nobody(), nothing, key, lambda ip: None, nothing)


class _Nobody:
    def observe(self, event: object) -> None:
        """Nobody listens."""

    def sight(self, sighting: object) -> None:
        """Nobody listens."""
