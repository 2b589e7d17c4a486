"""Which payload files an install gets, with the digest that ``install.sh`` checks on the machine."""

from collections.abc import Callable, Mapping
from typing import Protocol

from provisioner.boot.roles import Role
from provisioner.domain.errors import Refused


class PayloadEntry(Protocol):
    """A file that was added to the payload folder."""

    @property
    def sha256(self) -> str: ...


PayloadLookup = Callable[[], Mapping[str, PayloadEntry]]
"""Everything in the payload folder, by path below ``/payload/``."""


def no_payload() -> Mapping[str, PayloadEntry]:
    """The payload of an appliance that has none."""
    return {}


def chosen(role: Role, there: PayloadLookup) -> tuple[list[dict[str, str]], list[str]]:
    """Path, digest, destination and mode of each file, and what is left out, in words.

    A digest in ``role.yaml`` is the publisher's and stands; without one the digest taken when the file was added
    is frozen. Raises Refused for a file that is not there.
    """
    files: list[dict[str, str]] = []
    left_out: list[str] = []
    entries = there() if any(not file.sha256 or file.optional for file in role.settings.payload) else {}
    for file in role.settings.payload:
        entry = entries.get(file.path)
        command = f"`provisioner payload add FILE --path {file.path}`"
        if entry is None and file.optional:
            left_out.append(file.path)
            continue
        if entry is None and not file.sha256:
            raise Refused(f"role {role.name} installs payload {file.path}, which is not there", command)
        digest = file.sha256 or (entry.sha256 if entry else "")
        files.append({"path": file.path, "sha256": digest, "dest": file.dest, "mode": file.mode})
    if not left_out:
        return files, []
    command = "`provisioner payload add FILE --path PATH` brings one"
    return files, [f"optional payload is not there and left out: {', '.join(left_out)}; {command}"]
