"""The DHCP options that roles state, for a process that answers packets: read when a ``role.yaml`` changes."""

from collections.abc import Mapping

import structlog

from provisioner.boot.roles import ROLE_FILE, RoleFolder
from provisioner.domain.errors import Refused
from provisioner.domain.option_set import NO_OPTIONS, OptionSet, read_options

log = structlog.get_logger()


class RoleOptions:
    """``of`` may be called by any thread; ``refresh`` by one."""

    def __init__(self, folder: RoleFolder) -> None:
        self._folder = folder
        self._seen: Mapping[str, tuple[int, int]] = {}
        self._stated: Mapping[str, OptionSet] = {}

    def of(self, role: str) -> OptionSet:
        return self._stated.get(role, NO_OPTIONS)

    def refresh(self) -> None:
        """Read the roles whose file changed. One that is faulty keeps what it stated before, and says so once."""
        seen = self._files()
        if seen == self._seen:
            return
        stated: dict[str, OptionSet] = {}
        for name, state in seen.items():
            if state == self._seen.get(name):
                stated[name] = self.of(name)
                continue
            try:
                # Most roles state none, and YAML is slow to read beside a packet loop.
                states_some = b"dhcp" in (self._folder.root / name / ROLE_FILE).read_bytes()
                stated[name] = read_options(self._folder.get(name).settings.dhcp) if states_some else NO_OPTIONS
            except (Refused, OSError) as fault:
                log.warning("the role's DHCP options stay as they were", role=name, fault=str(fault))
                stated[name] = self.of(name)
        self._stated, self._seen = stated, seen

    def _files(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._folder.root.glob(f"*/{ROLE_FILE}"):
            try:
                status = path.stat()
            except OSError:
                continue
            found[path.parent.name] = (status.st_mtime_ns, status.st_size)
        return found
