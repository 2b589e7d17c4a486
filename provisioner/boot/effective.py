"""The roles as arming uses them: the revision that an operator activated, else the folder as it stands."""

from collections.abc import Sequence

from provisioner.boot.roles import Role, RoleFolder, role_of
from provisioner.domain.errors import NotFound
from provisioner.domain.ports import Store


class EffectiveRoles:
    """Thread-safe. Raises StoreUnavailable while the database is away: what was activated is not known then."""

    def __init__(self, folder: RoleFolder, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._read: dict[tuple[str, str], Role] = {}

    def names(self) -> list[str]:
        return self._folder.names()

    def get(self, name: str) -> Role:
        """Raises NotFound, InvalidDocument, Refused, StoreUnavailable."""
        with self._store.reading() as tx:
            activation = tx.role_activation(name)
        return self.at(name, activation.revision) if activation else self._folder.get(name)

    def draft(self, name: str) -> Role:
        """What the folder holds, activated or not."""
        return self._folder.get(name)

    def activated(self, name: str) -> str:
        """The revision that an operator activated; empty: the folder is used as it is."""
        with self._store.reading() as tx:
            activation = tx.role_activation(name)
        return activation.revision if activation else ""

    def in_force(self) -> dict[str, Role]:
        """The activated ones. Raises StoreUnavailable."""
        with self._store.reading() as tx:
            activations = tx.role_activations()
        return {activation.role: self.at(activation.role, activation.revision) for activation in activations}

    def kept(self, name: str) -> Sequence[tuple[str, int]]:
        """The revisions that were used at least once, oldest first, each with its first time."""
        with self._store.reading() as tx:
            return tx.role_revisions(name)

    def at(self, name: str, revision: str) -> Role:
        """A kept revision, or the folder's. Raises NotFound."""
        if role := self._read.get((name, revision)):
            return role
        with self._store.reading() as tx:
            kept = tx.role_revision(name, revision)
        if kept is None:
            if (draft := self._folder.get(name)).revision == revision:
                return draft
            raise NotFound("revision", revision, f"`provisioner role revisions {name}` lists what is kept")
        return self._read.setdefault((name, revision), role_of(name, kept.files))

    def find(self, name: str, ref: str) -> Role:
        """By revision, its beginning (6 characters or more), or its number from 1. Raises NotFound."""
        known = [revision for revision, _ in self.kept(name)]
        if ref.isdigit() and 1 <= int(ref) <= len(known):
            return self.at(name, known[int(ref) - 1])
        draft = self._folder.get(name).revision
        found = {revision for revision in (*known, draft) if len(ref) >= 6 and revision.startswith(ref)}
        if len(found) != 1:
            why = "fits several" if found else f"`provisioner role revisions {name}` lists what is kept"
            raise NotFound("revision", ref, why)
        return self.at(name, found.pop())
