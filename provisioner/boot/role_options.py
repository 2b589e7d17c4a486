"""The DHCP options that roles state, for a process that answers packets: read when a ``role.yaml`` changes, or the
revision that is in force."""

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress

import structlog

from provisioner.boot.roles import ROLE_FILE, Role, RoleFolder
from provisioner.domain.errors import Refused, StoreUnavailable
from provisioner.domain.option_set import NO_OPTIONS, OptionSet, read_options

log = structlog.get_logger()


class RoleOptions:
    """``of`` may be called by any thread; ``refresh`` by one."""

    def __init__(self, folder: RoleFolder, activated: Callable[[], Mapping[str, Role]] = dict) -> None:
        """``activated``: the roles whose folder is but a draft, as they are in force."""
        self._folder = folder
        self._activated = activated
        self._in_force: Mapping[str, Role] = {}
        self._seen: Mapping[str, Hashable] = {}
        self._stated: Mapping[str, OptionSet] = {}

    def of(self, role: str) -> OptionSet:
        return self._stated.get(role, NO_OPTIONS)

    def refresh(self) -> None:
        """Read the roles whose file, or whose revision in force, changed. One that is faulty keeps what it stated
        before, and says so once; while the database is away the activations stay as they were."""
        with suppress(StoreUnavailable, Refused):
            self._in_force = self._activated()
        seen = self._states()
        if seen == self._seen:
            return
        stated: dict[str, OptionSet] = {}
        for name, state in seen.items():
            if state == self._seen.get(name):
                stated[name] = self.of(name)
                continue
            try:
                stated[name] = self._read(name)
            except (Refused, OSError) as fault:
                log.warning("the role's DHCP options stay as they were", role=name, fault=str(fault))
                stated[name] = self.of(name)
        self._stated, self._seen = stated, seen

    def _read(self, name: str) -> OptionSet:
        if (role := self._in_force.get(name)) is not None:
            return read_options(role.settings.dhcp)
        # Most roles state none, and YAML is slow to read beside a packet loop.
        states_some = b"dhcp" in (self._folder.root / name / ROLE_FILE).read_bytes()
        return read_options(self._folder.get(name).settings.dhcp) if states_some else NO_OPTIONS

    def _states(self) -> dict[str, Hashable]:
        found: dict[str, Hashable] = {}
        for path in self._folder.root.glob(f"*/{ROLE_FILE}"):
            try:
                status = path.stat()
            except OSError:
                continue
            found[path.parent.name] = (status.st_mtime_ns, status.st_size)
        return found | {name: role.revision for name, role in self._in_force.items()}
